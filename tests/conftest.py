"""Fixtures every part uses."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and checkpoints beside the repository; tests that need it skip elsewhere."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "checkpoints").is_dir():
        pytest.skip("the shared data and checkpoints are not beside this clone (../shared)")
    return folder


@pytest.fixture(scope="session")
def cifar_jpegs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five JPEG images of each CIFAR-10 class, in class folders."""
    root = tmp_path_factory.mktemp("cifar")
    with zipfile.ZipFile(shared / "data" / "cifar10_jpeg_test.zip") as archive:
        for name in archive.namelist():
            if name.endswith(("0000.jpg", "0001.jpg", "0002.jpg", "0003.jpg", "0004.jpg")):
                archive.extract(name, root)
    return root / "test"


@pytest.fixture(scope="session", autouse=True)
def _one_thread_for_each_worker() -> None:
    """Under xdist the workers share the cores; threads that wait for each other in a spin cost minutes."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
