"""The demo data: the same bytes everywhere, no pixel in both splits, and nothing fetched."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lnbench.data import demo
from lnbench.errors import DataError

# Whoever changes a crop changes every number of the demo: train its checkpoints again.
FINGERPRINTS = {
    "train": "6c9ab767ba17481c4e7b584af00f51cd4d746da889c8766936e866e5f8d5a09b",
    "test": "1384ca1cf056d155477d2989f92fec4f0d7afa8b1b156510252449fd5890d4fd",
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_shapes_and_balance(split: demo.Split) -> None:
    images, labels, classes = demo.open_demo(split)
    assert images.shape == (len(classes) * demo.PER_CLASS[split], 3, 64, 64)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    assert images.flags.c_contiguous
    assert np.bincount(labels).tolist() == [demo.PER_CLASS[split]] * len(classes)


@pytest.mark.parametrize("split", ["train", "test"])
def test_bytes_are_the_same_everywhere(split: demo.Split) -> None:
    images, labels, _ = demo.open_demo(split)
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    assert digest == FINGERPRINTS[split]


@pytest.mark.parametrize("name", demo.PICTURES.values(), ids=demo.PICTURES.keys())
def test_no_pixel_is_in_both_splits(name: str) -> None:
    with Image.open(demo.picture_folder() / name) as image:
        width, height = image.size
    # A picture whose pixels are their own numbers: a crop then says where it came from.
    numbers = np.arange(height * width).reshape(height, width, 1)  # steep enough for every crop to count
    seen = {split: set(demo._crops(numbers, split).ravel().tolist()) for split in ("train", "test")}
    assert seen["train"] and seen["test"]
    assert not seen["train"] & seen["test"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_crops_of_a_picture_are_all_at_different_places(split: demo.Split) -> None:
    for name in demo.PICTURES.values():
        with Image.open(demo.picture_folder() / name) as image:
            width, height = image.size
        numbers = np.arange(height * width).reshape(height, width, 1)
        corners = demo._crops(numbers, split)[:, 0, 0, 0]
        assert len(set(corners.tolist())) == demo.PER_CLASS[split], name


def test_crops_are_pixels_of_the_picture() -> None:
    images, labels, classes = demo.open_demo("test")
    with Image.open(demo.picture_folder() / "coffee.png") as image:
        picture = np.asarray(image.convert("RGB"))
    top, left = demo.tiles(*picture.shape[:2], "test")[0]
    first = images[labels == classes.index("coffee")][0]
    np.testing.assert_array_equal(first, picture[top : top + 64, left : left + 64].transpose(2, 0, 1))


def test_grey_pictures_become_rgb() -> None:
    images, labels, classes = demo.open_demo("test")
    brick = images[labels == classes.index("brick")]
    assert (brick[:, 0] == brick[:, 1]).all() and (brick[:, 0] == brick[:, 2]).all()


def test_scikit_image_is_not_imported() -> None:
    code = "import sys, lnbench.data.demo as d; d.open_demo(); print('skimage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_scikit_image_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="scikit-image, which is not installed"):
        demo.open_demo()


def test_a_missing_picture_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.PICTURES, "brick", "no-such.png")
    with pytest.raises(DataError, match=r"no-such\.png cannot be read"):
        demo.open_demo()


def test_an_unknown_split_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="'train' or 'test'"):
        demo.open_demo("val")  # type: ignore[arg-type]
