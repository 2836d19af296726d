"""Fixtures every part uses."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and checkpoints beside the repository; tests that need it skip elsewhere."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "checkpoints").is_dir():
        pytest.skip("the shared data and checkpoints are not beside this clone (../shared)")
    return folder
