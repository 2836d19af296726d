"""Fixtures every part uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and checkpoints beside the repository; tests that need it skip elsewhere."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "checkpoints").is_dir():
        pytest.skip("the shared data and checkpoints are not beside this clone (../shared)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread_for_each_worker() -> None:
    """Under xdist the workers share the cores; threads that wait for each other in a spin cost minutes."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
