"""From a listing to a store: every image once, in order, whatever goes wrong on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from lnbench.data import loading
from lnbench.data.arrays import list_arrays
from lnbench.data.batches import subset
from lnbench.data.folder import list_folder
from lnbench.data.loading import open_listing
from lnbench.data.rows import FileRows
from lnbench.data.store import Decoding, Listing, Store, fingerprint
from lnbench.errors import DataError, UsageError
from lnbench.types import Geometry
from tests.data.conftest import pixels

RAW = Geometry()


def opened(listing: Listing, geometry: Geometry = RAW, **changed: Any) -> Store:
    return open_listing(listing, Decoding(geometry, **changed))


def array_listing(count: int = 20, side: int = 34, classes: int = 4) -> Listing:
    rows = np.stack([pixels(index, side, side + 2) for index in range(count)])
    labels = np.arange(count) * classes // count
    return list_arrays(rows, labels, source="npz:x", classes=None, stamp="x")


def same(first: Store, second: Store) -> bool:
    return (
        np.array_equal(first.images, second.images)
        and np.array_equal(first.labels, second.labels)
        and np.array_equal(first.ids, second.ids)
        and first.fingerprint == second.fingerprint
        and (first.classes, first.names, first.skipped, first.total, first.named, first.source)
        == (second.classes, second.names, second.skipped, second.total, second.named, second.source)
    )


def test_photographs_as_torchvision_prepares_them(photographs: Path) -> None:
    store = opened(list_folder(photographs), Geometry(256, 224))
    assert store.images.shape == (48, 3, 224, 224)
    assert store.images.dtype == np.uint8
    prepare = Compose([Resize(256), CenterCrop(224)])
    for index in range(0, 48, 5):
        picture = prepare(Image.open(photographs / store.names[index]).convert("RGB"))
        np.testing.assert_array_equal(store.images[index], np.asarray(picture).transpose(2, 0, 1))
    assert store.ids.tolist() == list(range(48))
    assert store.labels.tolist() == list(range(48))
    assert store.total == 48


def test_arrays_stay_untouched_without_geometry(cifar_npz: Path) -> None:
    with np.load(cifar_npz) as real:
        images, labels = real["images"], real["labels"]
    store = opened(list_arrays(images, labels, source="x", classes=None, stamp=""))
    np.testing.assert_array_equal(store.images, images.transpose(0, 3, 1, 2))
    assert store.images.flags.c_contiguous


def test_large_arrays_beyond_the_bound_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = array_listing()
    assert not isinstance(opened(listing, cache=tmp_path, cache_above=1).images, FileRows)  # too small to ask
    monkeypatch.setattr(loading, "LARGE", 1)
    mapped = opened(listing, cache=tmp_path, cache_above=1, limit=12)
    assert isinstance(mapped.images, FileRows)
    assert same(mapped, opened(listing, limit=12))
    assert not isinstance(opened(listing, cache=tmp_path, cache_above=10**6).images, FileRows)
    assert not isinstance(opened(listing, cache=tmp_path).images, FileRows)


def test_arrays_are_resized_through_pil_with_geometry() -> None:
    listing = array_listing()
    geometry = Geometry(48, 40, "bicubic")
    store = opened(listing, geometry)
    assert listing.rows is not None
    prepare = Compose([Resize(48, Image.Resampling.BICUBIC), CenterCrop(40)])
    for row, image in zip(listing.rows, store.images, strict=True):
        np.testing.assert_array_equal(image, np.asarray(prepare(Image.fromarray(row))).transpose(2, 0, 1))


@pytest.mark.parametrize("geometry", [RAW, Geometry(40, 36)])
def test_a_subset_is_the_same_images_under_the_same_ids(geometry: Geometry) -> None:
    listing = array_listing(100)
    whole, part = opened(listing, geometry), opened(listing, geometry, limit=22, seed=7)
    assert part.ids.tolist() == subset(listing.labels, 22, 7).tolist()
    np.testing.assert_array_equal(part.images, whole.images[part.ids])
    np.testing.assert_array_equal(part.labels, whole.labels[part.ids])
    assert part.names == tuple(whole.names[i] for i in part.ids)
    assert part.total == 100
    assert len({whole.fingerprint, part.fingerprint}) == 2
    assert same(whole, opened(listing, geometry, limit=1000))


@pytest.mark.parametrize("workers", [1, 7])
def test_workers_change_nothing(cifar_jpegs: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = opened(list_folder(cifar_jpegs))
    monkeypatch.setattr(loading, "cpus", lambda: workers)
    assert same(opened(list_folder(cifar_jpegs)), expected)


def test_the_fingerprint_is_of_the_content_not_of_the_place(class_folder: Path, tmp_path: Path) -> None:
    store = opened(list_folder(class_folder))
    copy = tmp_path / "deeper" / "copy"
    shutil.copytree(class_folder, copy, copy_function=shutil.copyfile)
    assert opened(list_folder(copy)).fingerprint == store.fingerprint
    digests = [hashlib.sha256((class_folder / name).read_bytes()).digest() for name in store.names]
    assert store.fingerprint == fingerprint(RAW, store.classes, store.labels, store.ids, digests)


def test_the_fingerprint_sees_every_change(class_folder: Path) -> None:
    prints = {opened(list_folder(class_folder)).fingerprint}
    prints.add(opened(list_folder(class_folder), Geometry(36)).fingerprint)
    prints.add(opened(list_folder(class_folder), limit=5).fingerprint)
    Image.fromarray(pixels(99)).save(class_folder / "a" / "0.png")
    prints.add(opened(list_folder(class_folder)).fingerprint)
    (class_folder / "c").rename(class_folder / "d")
    prints.add(opened(list_folder(class_folder)).fingerprint)
    (class_folder / "d" / "0.png").rename(class_folder / "a" / "2.png")
    prints.add(opened(list_folder(class_folder)).fingerprint)
    assert len(prints) == 6


def test_progress_counts_every_image_once(class_folder: Path) -> None:
    for listing in (list_folder(class_folder), array_listing(6)):
        calls: list[tuple[int, int]] = []
        opened(listing, on_progress=lambda done, total: calls.append((done, total)))  # noqa: B023
        assert calls[-1] == (6, 6)
        assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def damage(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / name
        path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize("cached", [False, True])
def test_unreadable_images_stop_the_run_or_are_skipped(
    class_folder: Path, tmp_path: Path, cached: bool
) -> None:
    cache = tmp_path / "cache" if cached else None
    whole = opened(list_folder(class_folder))
    broken = ["a/0.png", "b/0.png", "b/1.png", "c/1.png"]
    damage(class_folder, broken)
    with pytest.raises(DataError) as caught:
        opened(list_folder(class_folder), cache=cache)
    message = str(caught.value)
    assert "4 images cannot be read (a/0.png: " in message
    assert "b/1.png" in message and "c/1.png" not in message and "and 1 more" in message
    assert "--skip-unreadable" in message and "\n" not in message
    store = opened(list_folder(class_folder), cache=cache, skip_unreadable=True)
    assert [name for name, _ in store.skipped] == broken
    assert store.names == ("a/1.png", "c/0.png")
    assert store.ids.tolist() == [1, 4]  # the others keep their ids, and so their noise
    assert store.labels.tolist() == [0, 2]
    assert store.total == 6
    np.testing.assert_array_equal(store.images, whole.images[[1, 4]])


def test_names_of_strangers_stay_on_their_line(class_folder: Path) -> None:
    (class_folder / "b").rename(class_folder / "b\n\x1b[31m")
    (class_folder / "c").rename(class_folder / os.fsdecode(b"c\xff"))
    (class_folder / "a" / "1\n.png").touch()
    with pytest.raises(DataError) as caught:
        opened(list_folder(class_folder))
    assert str(caught.value).isprintable()
    store = opened(list_folder(class_folder), skip_unreadable=True)
    assert store.classes == ("a", "b\\n\\x1b[31m", "c\\udcff")
    assert len(store.ids) == 6


def test_nothing_readable_is_an_error(class_folder: Path) -> None:
    damage(class_folder, [f"{c}/{i}.png" for c in "abc" for i in (0, 1)])
    with pytest.raises(DataError, match="none of 6 images can be read"):
        opened(list_folder(class_folder), skip_unreadable=True)


def test_differing_sizes_need_a_geometry(class_folder: Path) -> None:
    Image.fromarray(pixels(0, 40, 50)).save(class_folder / "b" / "0.png")
    with pytest.raises(DataError, match=r"a/0.png has 40×40, b/0.png 40×50 px\); give --resize and --crop"):
        opened(list_folder(class_folder))
    assert opened(list_folder(class_folder), Geometry(crop=36)).images.shape == (6, 3, 36, 36)


def test_small_images_are_refused(class_folder: Path) -> None:
    with pytest.raises(DataError, match="31×31 px are too small"):
        opened(list_folder(class_folder), Geometry(crop=31))
    rows = np.zeros((2, 31, 40, 3), np.uint8)
    with pytest.raises(DataError, match="31×40 px are too small"):
        opened(list_arrays(rows, np.zeros(2, int), source="x", classes=None, stamp=""))


def test_a_limit_below_one_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--limit 0"):
        opened(array_listing(), limit=0)


def test_interruption_stops_the_workers(class_folder: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(list_folder(class_folder), cache=tmp_path / "cache", on_progress=interrupt)
    assert not list((tmp_path / "cache").glob("*.lnstore"))
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}
