"""The cache: found again, trusted only when intact, built without holding everything in memory."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lnbench.data import cache as caching
from lnbench.data import loading
from lnbench.data.folder import list_folder
from lnbench.data.rows import FileRows
from lnbench.data.store import Listing, Store
from lnbench.errors import DataError
from lnbench.files import temporary
from lnbench.types import Geometry
from tests.data.conftest import pixels
from tests.data.test_loading import array_listing, opened, same


def cache_file(folder: Path) -> Path:
    [path] = folder.glob("*.lnstore")
    return path


def counted(listing: Listing, reads: list[int]) -> Listing:
    def read(index: int) -> tuple[Image.Image, bytes]:
        reads.append(index)
        return listing.read(index)

    return Listing(**{**listing.__dict__, "read": read})


CHANGES: dict[str, Callable[[Path], None]] = {
    "another picture": lambda path: Image.fromarray(pixels(99, 40, 60)).save(path, "PNG", compress_level=0),
    "a byte of no picture": lambda path: path.write_bytes(path.read_bytes()[:-20] + bytes(20)),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_content_with_the_same_name_size_and_time_is_seen(
    tmp_path: Path, cache: Path, change: str
) -> None:
    folder = tmp_path / "images"
    for number in range(3):
        file = folder / f"c{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number, 40, 60)).save(file, "PNG", compress_level=0)
    stamp = list_folder(folder).stamp
    first = opened(list_folder(folder), cache=cache)
    before = file.stat()
    CHANGES[change](file)
    if file.exists():
        assert file.stat().st_size == before.st_size
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        listing = list_folder(folder)
        assert listing.stamp == stamp
    else:
        listing = list_folder(folder)
    try:
        again = opened(listing, cache=cache)
    except DataError:
        assert change == "a byte of no picture"
    else:
        assert again.fingerprint != first.fingerprint
        assert same(again, opened(list_folder(folder)))


def test_an_image_that_can_be_read_again_is(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "images" / "c" / "1.png"
    file.parent.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        Image.fromarray(pixels(7, 40, 60)).save(file.with_name(name), "PNG")
    whole = file.read_bytes()
    before = file.stat()
    file.write_bytes(bytes(len(whole)))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = opened(list_folder(tmp_path / "images"), cache=cache, skip_unreadable=True)
    assert len(found.ids) == 1 and len(found.skipped) == 1
    file.write_bytes(whole)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(opened(list_folder(tmp_path / "images"), cache=cache, skip_unreadable=True).ids) == 2


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def test_the_second_run_decodes_nothing(photographs: Path, cache: Path) -> None:
    reads: list[int] = []
    geometry = Geometry(256, 224)
    first = opened(counted(list_folder(photographs), reads), geometry, cache=cache)
    assert sorted(reads) == list(range(48))
    second = opened(counted(list_folder(photographs), reads), geometry, cache=cache)
    assert len(reads) == 48
    assert isinstance(second.images, FileRows)
    assert same(first, second)
    assert same(second, opened(list_folder(photographs), geometry))


def test_what_matters_gets_its_own_file(class_folder: Path, cache: Path) -> None:
    for geometry, limit, seed in [
        (Geometry(), None, 0),
        (Geometry(), None, 1),  # the seed only matters to a subset
        (Geometry(36), None, 0),
        (Geometry(36, interpolation="box"), None, 0),
        (Geometry(), 3, 0),
        (Geometry(), 3, 1),
    ]:
        opened(list_folder(class_folder), geometry, limit=limit, seed=seed, cache=cache)
    assert len(list(cache.glob("*.lnstore"))) == 5


def test_changed_files_are_decoded_again(class_folder: Path, cache: Path) -> None:
    before = opened(list_folder(class_folder), cache=cache)
    Image.fromarray(pixels(50)).save(class_folder / "b" / "1.png")
    after = opened(list_folder(class_folder), cache=cache)
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.images[3], pixels(50).transpose(2, 0, 1))


def test_arrays_with_a_geometry_are_cached_others_need_it_not(cache: Path) -> None:
    opened(array_listing(), cache=cache)
    assert not cache.exists()
    reads: list[int] = []
    for _ in range(2):
        opened(counted(array_listing(), reads), Geometry(40), cache=cache)
    assert len(reads) == 20


def damage_every_part(path: Path) -> dict[str, bytes]:
    """The file's bytes, wrong in one place each: header, pixels, footer, length."""
    whole = path.read_bytes()

    def flipped(place: int) -> bytes:
        return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]

    return {
        "magic": flipped(0),
        "offset": flipped(9),
        "footer digest": flipped(40),
        "first pixel": flipped(4096),
        "middle pixel": flipped(4096 + 6 * 40 * 40 * 3 // 2),
        "footer": flipped(len(whole) - 5),
        "cut by a byte": whole[:-1],
        "cut in the pixels": whole[:10_000],
        "longer": whole + b"x",
        "empty": b"",
        "another file": b"x" * len(whole),
    }


def test_damage_is_found_and_repaired(class_folder: Path, cache: Path) -> None:
    expected = opened(list_folder(class_folder), cache=cache)
    images = np.array(expected.images)
    path = cache_file(cache)
    whole = path.read_bytes()
    for name, content in damage_every_part(path).items():
        path.write_bytes(content)
        reads: list[int] = []
        store = opened(counted(list_folder(class_folder), reads), cache=cache)
        assert len(reads) == 6, name
        np.testing.assert_array_equal(store.images, images)
        assert path.read_bytes() == whole


def test_every_bit_of_a_small_cache_counts(
    class_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "_BLOCK", 1000)  # many blocks, the last one short
    listing = list_folder(class_folder)
    opened(listing, limit=1, cache=cache)
    path = cache_file(cache)
    whole = path.read_bytes()
    assert caching.load(path, listing, Geometry(), 2) is not None
    padding = range(56, 4096)
    for place in range(0, len(whole), 7):
        if place in padding:
            continue
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert caching.load(path, listing, Geometry(), 2) is None, place


def test_an_intact_cache_of_something_else_is_not_taken(class_folder: Path, cache: Path) -> None:
    listing = list_folder(class_folder)
    opened(listing, Geometry(36), cache=cache)
    path = cache_file(cache)
    assert caching.load(path, listing, Geometry(36), 1) is not None
    assert caching.load(path, listing, Geometry(36, interpolation="box"), 1) is None


def test_what_killed_builds_left_is_removed(class_folder: Path, cache: Path) -> None:
    opened(list_folder(class_folder), cache=cache)
    path = cache_file(cache)
    left = temporary(path)
    path.rename(left)
    opened(list_folder(class_folder), cache=cache)
    assert not left.exists()
    assert cache_file(cache) == path


def test_processes_that_want_the_same_build_it_once(class_folder: Path, cache: Path) -> None:
    reads: list[int] = []
    stores: list[Store] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        stores.append(opened(counted(list_folder(class_folder), reads), cache=cache))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 6
    assert all(same(stores[0], store) for store in stores)


def test_memory_stays_small_while_building(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "cpus", lambda: 2)
    monkeypatch.setattr(caching, "_BLOCK", 1 << 20)
    picture = Image.fromarray(pixels(0, 128, 128))
    listing = array_listing(600)
    listing = Listing(**{**listing.__dict__, "read": lambda index: (picture, bytes([index % 256] * 32))})
    tracemalloc.start()
    store = opened(listing, Geometry(crop=128), cache=cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store.images.nbytes == 600 * 128 * 128 * 3
    # Two workers hold at most seven tasks of eight images, 2.6 MiB, or two blocks; the store has 28 MiB.
    assert peak < store.images.nbytes / 4


def test_a_cache_that_cannot_be_written(class_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="the cache cannot be written"):
        opened(list_folder(class_folder), cache=tmp_path / "file" / "cache")


def test_a_full_disk(class_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching, "_write", full)
    with pytest.raises(DataError, match="No space left on device"):
        opened(list_folder(class_folder), cache=cache)
    assert {path.suffix for path in cache.iterdir()} <= {".lock"}
