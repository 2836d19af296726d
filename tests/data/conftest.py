"""Small datasets made on the spot, and a few images of the real ones."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


def pixels(index: int, height: int = 40, width: int = 40) -> np.ndarray:
    """A noisy picture (H, W, 3) that differs from every other index."""
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """Three classes of two lossless 40 px images each: `<tmp>/set/<a|b|c>/<0|1>.png`."""
    root = tmp_path / "set"
    for index in range(6):
        folder = root / "abc"[index // 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(index)).save(folder / f"{index % 2}.png")
    return root


@pytest.fixture(scope="session")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of 48 ImageNet photographs."""
    root = tmp_path_factory.mktemp("imagenet")
    with zipfile.ZipFile(shared / "data" / "imagenet_sample_48.zip") as archive:
        archive.extractall(root)
    return root


@pytest.fixture(scope="session")
def cifar_npz(shared: Path) -> Path:
    return shared / "data" / "cifar10_test_846.npz"
