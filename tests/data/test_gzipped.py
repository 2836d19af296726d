"""A gzip file read from any place gives what it holds, and nothing where it is damaged."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.data import gzipped
from lnbench.data.gzipped import Gzip, is_gzip


@pytest.fixture(autouse=True)
def close_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many marks, and as rarely any, as in a file of gigabytes."""
    monkeypatch.setattr(gzipped, "_CHUNK", 1000)
    monkeypatch.setattr(gzipped, "_APART", 3000)
    monkeypatch.setattr(gzipped, "_MOST", 10)


def content(size: int) -> bytes:
    """Bytes of which parts hardly shrink and others very much."""
    draw = np.random.default_rng(size)
    found = draw.integers(0, 256, size, np.uint8)
    found[size // 3 : size // 2] = 7
    return found.tobytes()


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=3),
    zeros=st.sampled_from([0, 1, 5000]),
    places=st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 20_000)), min_size=1, max_size=20),
    data=st.data(),
)
def test_any_place_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    zeros: int,
    places: list[tuple[int, int]],
    data: st.DataObject,
) -> None:
    """Of several streams in a row as of one, before it has been read whole and after."""
    path = tmp_path_factory.mktemp("gz") / "x.gz"
    path.write_bytes(b"".join(gzip.compress(content(size)) for size in sizes) + bytes(zeros))
    whole = b"".join(content(size) for size in sizes)
    file = Gzip(path)
    for place, size in places[: data.draw(st.integers(0, len(places)))]:
        assert file.seek(place) == place
        assert file.read(size) == whole[place : place + size]
        assert file.tell() == place + len(whole[place : place + size])
    assert file.finish() == len(whole) == file.finish()
    assert len(file._marks) <= 10
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda where: file.at(*where), places))
    assert found == [whole[place : place + size] for place, size in places]


def test_a_place_is_reached_from_a_mark_near_it(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(content(30_000)))
    file = Gzip(path)
    file.finish()
    for place in range(0, 30_000, 500):
        assert place - 2 * 3000 - 2 * 1000 <= file._at(place).start <= place


@pytest.mark.parametrize("cut", [1, 8, 9, 500, 10_000])
def test_one_that_breaks_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(content(30_000))[:-cut])
    with pytest.raises(EOFError, match="breaks off"):
        Gzip(path).finish()


def test_damage_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    packed = bytearray(gzip.compress(content(30_000)))
    packed[-7] ^= 1
    path.write_bytes(packed)
    assert is_gzip(path)
    with pytest.raises(zlib.error):
        Gzip(path).finish()


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzipped, "_SMALL", 1 << 20)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(32 << 20)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 100 times its size"):
        Gzip(path).finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20
