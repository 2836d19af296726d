"""Fixtures every part uses."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

# Before anything imports torch: the networks here are too small to share among threads, test runs share the
# cores, and the number of threads decides the last digit of a sum. Processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"


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
