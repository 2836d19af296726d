"""The demo data: 64 px crops of the photographs and textures that scikit-image carries in its wheel.

A class for each picture, nothing downloaded. Every picture is cut into square tiles; a tile belongs
either to training or to test, so no pixel is in both. Crops are plain integer slices of decoded PNG
files (the three JPEG files of the package are left out: PNG decodes to the same bytes everywhere).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from lnbench.errors import DataError

Split = Literal["train", "test"]

SIDE = 64  # of a crop, pixels
TILE = 80  # crops move by up to TILE - SIDE inside their tile
TEST_EVERY = 3  # one tile of three is test
PER_CLASS = {"train": 112, "test": 40}  # crops
LEAST_STD = 8  # grey levels a crop must vary by: a piece of empty sky shows no class
OFFSETS = {"train": (0, 4, 8, 12, 16), "test": (0, 5, 11, 16)}

# Class name → file. All are PNG; grey ones become RGB with equal channels.
PICTURES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "ihc": "ihc.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "text": "text.png",
}
CLASSES = tuple(PICTURES)


def open_demo(split: Split = "test") -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Render one split of the demo data.

    Returns images uint8 (N, 3, 64, 64) in 0–255, labels int64 (N,), and the class names; N is 40 a
    class for "test" and 112 for "train", ordered by class. The bytes are the same on every machine.

    Raises DataError if scikit-image or one of its pictures is not installed.
    """
    if split not in PER_CLASS:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    folder = picture_folder()
    images = [_crops(_decode(folder / name), split) for name in PICTURES.values()]  # each (n, 3, 64, 64)
    labels = np.repeat(np.arange(len(CLASSES), dtype=np.int64), [len(part) for part in images])
    return np.concatenate(images), labels, CLASSES


def picture_folder() -> Path:
    """The data folder of the installed scikit-image, found without importing it. Raises DataError."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError("the demo's pictures come with scikit-image, which is not installed: pip install it")
    return Path(spec.origin).parent / "data"


def tiles(height: int, width: int, split: Split) -> list[tuple[int, int]]:
    """Top-left corners of the tiles of one split, row by row.

    The pattern shifts from row to row, so test tiles lie all over the picture and each has training
    tiles around it.
    """
    corners = []
    for row in range(height // TILE):
        for column in range(width // TILE):
            is_test = (column + row) % TEST_EVERY == 1
            if is_test == (split == "test"):
                corners.append((row * TILE, column * TILE))
    return corners


def _crops(picture: np.ndarray, split: Split) -> np.ndarray:
    """Cut PER_CLASS[split] crops, spread evenly over the tiles and offsets: (n, 3, SIDE, SIDE)."""
    height, width, _ = picture.shape
    steps = OFFSETS[split]
    places = [
        (top + down, left + right)
        for down in steps
        for right in steps
        for top, left in tiles(height, width, split)
    ]
    places = [place for place in places if _varies(_cut(picture, place))]
    wanted = PER_CLASS[split]
    chosen = [places[number * len(places) // wanted] for number in range(wanted)]
    crops = np.stack([_cut(picture, place) for place in chosen])
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))  # (n, 3, SIDE, SIDE)


def _cut(picture: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    top, left = place
    return picture[top : top + SIDE, left : left + SIDE]  # (SIDE, SIDE, 3)


def _varies(crop: np.ndarray) -> bool:
    """Whether the sum of the channels has a standard deviation of at least 3 · LEAST_STD; integers only."""
    values = crop.sum(axis=2, dtype=np.int64)
    spread = values.size * int((values * values).sum()) - int(values.sum()) ** 2
    return bool(spread >= (3 * LEAST_STD * values.size) ** 2)


def _decode(path: Path) -> np.ndarray:
    """Decode one picture to uint8 (H, W, 3)."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"the demo picture {path} cannot be read: reinstall scikit-image ({error})") from None
