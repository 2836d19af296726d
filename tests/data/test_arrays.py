"""npz datasets: exact pixels, or one line about what is wrong."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.data import arrays
from lnbench.data.arrays import check_memory, open_npy
from lnbench.data.rows import FileRows
from lnbench.data.sources.npz import npz
from lnbench.errors import DataError
from tests.data.conftest import pixels

IMAGES = np.stack([pixels(index, 34, 36) for index in range(5)])
LABELS = np.array([0, 2, 1, 1, 0])


def written(path: Path, compressed: bool = True, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def test_real_file(cifar_npz: Path) -> None:
    listing = npz(cifar_npz)
    with np.load(cifar_npz) as oracle:
        np.testing.assert_array_equal(listing.rows, oracle["images"])
        np.testing.assert_array_equal(listing.labels, oracle["labels"])
    assert listing.classes == tuple("0123456789")
    assert not listing.named


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i2"])
def test_round_trip(tmp_path: Path, compressed: bool, dtype: Any) -> None:
    path = written(tmp_path / "x.npz", compressed, images=IMAGES, labels=LABELS.astype(dtype))
    listing = npz(path)
    np.testing.assert_array_equal(listing.rows, IMAGES)
    assert listing.labels.dtype == np.int64
    assert listing.labels.tolist() == LABELS.tolist()
    picture, _ = listing.read(3)
    np.testing.assert_array_equal(np.asarray(picture), IMAGES[3])


def test_fortran_order(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", images=np.asfortranarray(IMAGES), labels=LABELS)
    np.testing.assert_array_equal(npz(path).rows, IMAGES)


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any) -> None:
    monkeypatch.setattr(arrays, "LARGE", 1000)
    images = np.asarray(IMAGES, order=order)
    listing = npz(written(tmp_path / "x.npz", compressed=False, labels=LABELS, images=images))
    # Laid out by columns, no image's bytes lie together.
    assert isinstance(listing.rows, FileRows) == (order == "C")
    np.testing.assert_array_equal(listing.rows, IMAGES)
    small = npz(written(tmp_path / "y.npz", images=IMAGES, labels=LABELS))
    assert not isinstance(small.rows, FileRows)  # it would have to be unpacked


def test_names_of_classes(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.npz", images=IMAGES, labels=LABELS, classes=np.array(["cat", "dog", "emu", "fox"])
    )
    listing = npz(path)
    assert listing.classes == ("cat", "dog", "emu", "fox")
    assert listing.named


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "y": LABELS}, "no array 'images' among 'x', 'y'"),
        ({"images": IMAGES}, "no array 'labels'"),
        ({"images": IMAGES / 255, "labels": LABELS}, "must be uint8, not float64; scale"),
        ({"images": IMAGES.astype(np.int64), "labels": LABELS}, "must be uint8, not int64"),
        ({"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS}, "move the channels last"),
        ({"images": IMAGES[..., 0], "labels": LABELS}, r"must be \(N, H, W, 3\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no images"),
        ({"images": IMAGES, "labels": LABELS[:4]}, "5 images but 4 labels"),
        ({"images": IMAGES, "labels": LABELS * 1.0}, "labels must be integers"),
        ({"images": IMAGES, "labels": np.eye(5, dtype=int)}, "labels must be integers"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label -1 lies outside"),
        ({"images": IMAGES, "labels": LABELS + 10**12}, "lies outside"),
        ({"images": IMAGES, "labels": np.array([0, 0, 0, 0, 2**64 - 1], np.uint64)}, "lies outside"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b"])}, "label 2 lies outside 0…1"),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.arange(3)},
            "'classes' must be a list of strings",
        ),
        ({"images": IMAGES, "labels": np.array([0, 1, None, 1, 1])}, "Python objects"),
        ({}, "no array 'images' among none"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        npz(written(tmp_path / "x.npz", **arrays))
    assert str(caught.value).isprintable()


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


def test_objects_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    member = io.BytesIO()
    np.save(member, np.array([Runs()], dtype=object), allow_pickle=True)
    for content in (member.getvalue(), pickle.dumps(Runs())):
        with zipfile.ZipFile("x.npz", "w") as archive:
            archive.writestr("images.npy", content)
            archive.writestr("labels.npy", content)
        with pytest.raises(DataError):
            npz(Path("x.npz"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**5, 64, 64, 3), "claims shape"),
        ((2**40, 2**40, 2**40, 3), "claims shape"),
        ((-1, 32, 32, 3), "claims shape"),
        ((0, 2**62, 2**62, 3), "not a readable npz"),
    ],
)
def test_absurd_shapes_ask_for_no_memory(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", npy_header(shape))
        archive.writestr("labels.npy", npy_header((0,)))
    with pytest.raises(DataError, match=message):
        npz(path)


def test_zip_bombs_are_refused_before_they_unfold(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    count = 100_000  # 293 MiB of zeros in 0.3 MB
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("images.npy", "w") as member:
        member.write(npy_header((count, 32, 32, 3)))
        for _ in range(100):
            member.write(bytes(count * 32 * 32 * 3 // 100))
    with pytest.raises(DataError, match="zip bomb"):
        npz(path)


def test_memory_that_no_machine_has() -> None:
    with pytest.raises(DataError, match="use --cache"):
        check_memory(1 << 60, "folder:x", "use --cache")


def test_arrays_larger_than_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)  # 100 pages of 100 bytes
    with pytest.raises(DataError, match="take a part of it"):
        npz(path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x93NUMPY", b"PK\x03\x04" + bytes(40)])
def test_files_that_are_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="not a readable npz"):
        npz(tmp_path / "x.npz")
    with pytest.raises(DataError, match="not a readable npy"):
        open_npy(tmp_path / "x.npz")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        npz(tmp_path / "x.npz")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = written(folder / "d.npz", data.draw(st.booleans()), images=IMAGES[:2, :33, :33], labels=LABELS[:2])
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        # Headers and directory lie at both ends.
        place = data.draw(st.one_of(st.integers(-400, 250), st.integers(0, len(whole)))) % len(whole)
        whole[place : place + data.draw(st.integers(0, 2))] = bytes([data.draw(st.integers(0, 255))])
    path.write_bytes(whole)
    try:
        npz(path)
    except DataError as error:
        assert str(error).isprintable()
    member = bytearray(npy_header((2, 33, 33, 3)) + bytes(2 * 33 * 33 * 3))
    for _ in range(data.draw(st.integers(1, 4))):
        member[data.draw(st.integers(0, 130))] = data.draw(st.integers(0, 255))
    (folder / "d.npy").write_bytes(member)
    try:
        open_npy(folder / "d.npy")
    except DataError as error:
        assert str(error).isprintable()
