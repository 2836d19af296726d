"""Pixels as published figures rest on them: EXIF left alone, stored sets untouched, what is dropped said."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from lnbench.data import loading
from lnbench.data.folder import list_folder
from lnbench.data.geometry import UNCHANGED, as_stored
from lnbench.data.store import Decoding, Store
from lnbench.types import Geometry

PLAIN = Geometry(40, 40)


def photographs(root: Path, orientations: dict[str, int]) -> Path:
    """Two classes of JPEGs, 48×40 px, with these EXIF orientations."""
    draw = np.random.default_rng(1)
    for name, orientation in orientations.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation != 1:
            exif[0x0112] = orientation
        pixels = draw.integers(0, 256, (12, 10, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 48)).save(path, exif=exif)
    return root


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    return photographs(tmp_path / "set", {"a/1.jpg": 1, "a/2.jpg": 6, "b/1.jpg": 3, "b/2.jpg": 1})


def opened(root: Path, **options: object) -> Store:
    return loading.open_listing(list_folder(root), Decoding(PLAIN, **options))  # type: ignore[arg-type]


def test_orientation_is_ignored_as_torchvision_ignores_it(turned: Path) -> None:
    store = opened(turned)
    crop = Image.Image.crop
    for picture, (theirs, _) in zip(store.images, ImageFolder(str(turned)), strict=True):
        # 48×40 px: the shorter side is 40 already, and four rows go above and below.
        expected = np.asarray(crop(theirs, (0, 4, 40, 44)))
        np.testing.assert_array_equal(picture.transpose(1, 2, 0), expected)
    assert store.turned == 2


def test_orientation_is_applied_when_asked_for(turned: Path) -> None:
    lying, upright = opened(turned), opened(turned, upright=True)
    assert upright.turned == 2
    same = [bool((one == two).all()) for one, two in zip(lying.images, upright.images, strict=True)]
    assert same == [True, False, False, True]
    np.testing.assert_array_equal(upright.images[2], lying.images[2][:, ::-1, ::-1])
    assert lying.fingerprint != upright.fingerprint


def test_without_orientations_nothing_differs(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set", {"a/1.jpg": 1, "b/1.jpg": 1})
    assert opened(root).fingerprint == opened(root, upright=True).fingerprint
    assert opened(root).turned == 0


def test_a_cache_keeps_the_two_apart(turned: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for upright in (False, True, False, True):
        fresh, cached = opened(turned, upright=upright), opened(turned, upright=upright, cache=cache)
        assert (cached.fingerprint, cached.turned) == (fresh.fingerprint, 2)
        np.testing.assert_array_equal(cached.images, fresh.images)
    assert len(list(cache.glob("*.lnstore"))) == 2


def test_files_of_other_kinds_are_counted_and_named(turned: Path, tmp_path: Path) -> None:
    for name in ("a/x.gif", "a/y.GIF", "b/notes", "b/z.txt", ".hidden.gif", "a/.DS_Store"):
        (turned / name).write_bytes(b"x")
    expected = (("", 1), (".gif", 2), (".txt", 1))
    assert opened(turned).left_out == expected
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(turned.rglob("*")):
            archive.write(file, file.relative_to(turned))
    from lnbench.data.specs import listing, parse

    assert listing(parse(f"zip:{path}")).left_out == expected


def test_stored_pictures_of_the_networks_size_are_left_alone() -> None:
    imagenet = Geometry(256, 224, "bicubic")
    assert as_stored((224, 224), imagenet) == UNCHANGED
    assert as_stored((256, 256), imagenet) == imagenet
    assert as_stored((224, 300), imagenet) == imagenet
    # Where nothing would be done anyway, the geometry stays, and with it the fingerprint.
    assert as_stored((32, 32), Geometry(32, 32)) == Geometry(32, 32)
    assert as_stored((32, 32), Geometry()) == Geometry()
    assert as_stored((240, 320), Geometry(256, (240, 320))) == UNCHANGED
    assert as_stored((64, 64), Geometry((64, 64))) == Geometry((64, 64))
