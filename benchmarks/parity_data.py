"""Photographs, test sets and networks for the parity study, from what its arguments name."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from lnbench.data import loading, specs
from lnbench.data.store import Decoding
from lnbench.models import checkpoint, registry
from lnbench.models.classifier import Classifier
from tests.oracle.pictures import photographs

WORK = Path(__file__).parents[1] / "build" / "parity"
"""For unpacked archives and lock files."""


def load_network(text: str) -> tuple[str, Classifier]:
    """NAME=CHECKPOINT to a classifier."""
    name, _, path = text.partition("=")
    built = registry.build(registry.parse(f"cifar:{name}"), classes=10, pretrained=False)
    checkpoint.fit(built.network, checkpoint.read(Path(path)))
    return name, Classifier(built.network, built.normalization)


def load(text: str, limit: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (N, H, W, 3), labels and ids of a data spec or of a zip of class folders."""
    if text.endswith(".zip"):
        text = f"folder:{unpacked(Path(text))}"
    store = loading.open_store(specs.parse(text), Decoding(limit=limit))
    return np.ascontiguousarray(store.images.transpose(0, 2, 3, 1)), store.labels, store.ids


def unpacked(archive: Path) -> Path:
    """The class folders of a zip, unpacked once beside the lock files."""
    folder = WORK / archive.stem
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(partial)
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else folder


def pictures(side: int, count: int, archive: Path | None) -> np.ndarray:
    """Up to `count` square photographs: shorter side to 8/7 of `side`, middle cut out; uint8 (B, H, W, 3).

    Those of scikit-image are few: more of them are had by cutting larger crops into tiles.
    """
    if archive is None:
        tiles = int(np.ceil(np.sqrt(count / 4)))
        large = photographs(side * tiles, side * tiles).reshape(-1, tiles, side, tiles, side, 3)
        return large.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side, side, 3)[:count]
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.lower().endswith((".jpeg", ".jpg", ".png")))
        every = len(names) / min(count, len(names))
        chosen = [names[int(i * every)] for i in range(min(count, len(names)))]
        return np.stack([_cropped(Image.open(io.BytesIO(opened.read(name))), side) for name in chosen])


def _cropped(picture: Image.Image, side: int) -> np.ndarray:
    scale = side * 8 / 7 / min(picture.size)
    sides = (round(picture.width * scale), round(picture.height * scale))
    small = np.asarray(picture.convert("RGB").resize(sides, Image.Resampling.BILINEAR))
    top, left = (small.shape[0] - side) // 2, (small.shape[1] - side) // 2
    return small[top : top + side, left : left + side]
