"""CIFAR batches: folder, parent folder, archive or single file; both splits; nothing trusted."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.data.sources.cifar import CIFAR10, CIFAR100, LAYOUTS, list_cifar
from lnbench.errors import DataError
from tests.data.test_cifar_pickle import python2_batch


def rows_of(seed: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def write_dataset(kind: str, parent: Path) -> Path:
    """A miniature of the published folder: four images a file, seeds and labels counted along."""
    layout = LAYOUTS[kind]
    folder = parent / layout.folder
    folder.mkdir(parents=True)
    files = [name for split in ("train", "test") for name in layout.files[split]]
    for seed, name in enumerate(files):
        labels = [(seed + n) % len(layout.classes) for n in range(4)]
        (folder / name).write_bytes(python2_batch(rows_of(seed), labels, layout.labels))
    return folder


def archive(folder: Path) -> Path:
    path = folder.parent / f"{folder.name}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:  # like the published one, in no order
        for file in sorted(folder.iterdir(), reverse=True):
            tar.add(file, f"{folder.name}/{file.name}")
    return path


def test_names_of_the_classes() -> None:
    assert len(CIFAR10) == 10
    assert len(set(CIFAR100)) == 100
    assert list(CIFAR100) == sorted(CIFAR100)  # labels of CIFAR-100 are alphabetical


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("form", ["folder", "parent", "archive"])
def test_every_form(tmp_path: Path, kind: str, split: str, form: str) -> None:
    folder = write_dataset(kind, tmp_path)
    path = {"folder": folder, "parent": tmp_path, "archive": archive(folder)}[form]
    listing = list_cifar(kind, path, split)
    files = len(LAYOUTS[kind].files["train"])
    seeds = range(files) if split == "train" else [files]
    expected = np.concatenate([rows_of(seed) for seed in seeds]).reshape(-1, 3, 32, 32)
    assert listing.rows is not None
    np.testing.assert_array_equal(listing.rows.transpose(0, 3, 1, 2), expected)
    assert listing.labels.tolist() == [seed + n for seed in seeds for n in range(4)]
    assert listing.classes == LAYOUTS[kind].classes


def test_a_single_batch_file(tmp_path: Path) -> None:
    folder = write_dataset("cifar10", tmp_path)
    listing = list_cifar("cifar10", folder / "data_batch_3", "test")
    assert listing.labels.tolist() == [2, 3, 4, 5]


def test_real_images(cifar_npz: Path, tmp_path: Path) -> None:
    with np.load(cifar_npz) as real:
        images, labels = real["images"][:50], real["labels"][:50]
    (tmp_path / "test_batch").write_bytes(
        python2_batch(images.transpose(0, 3, 1, 2).reshape(50, -1), labels.tolist())
    )
    listing = list_cifar("cifar10", tmp_path, "test")
    np.testing.assert_array_equal(listing.rows, images)
    np.testing.assert_array_equal(listing.labels, labels)


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pickle exhausted"),
        (b"<html>", "."),
        (python2_batch(ROWS, [1, 2], "fine_labels"), "is it the other CIFAR"),
        (python2_batch(ROWS, [1]), "2 images but 1 labels"),
        (python2_batch(ROWS, [1, 10]), "label 10 lies outside 0…9"),
        (python2_batch(ROWS, [1, -1]), "outside"),
        (pickle.dumps({"data": ROWS, "labels": [1, 2**80]}), "outside"),
        (python2_batch(ROWS[:, :3000], [1, 2]), r"not uint8 \(n, 3072\)"),
        (pickle.dumps({"data": ROWS.astype(np.int64), "labels": [1, 2]}), "not uint8"),
        (pickle.dumps({"data": ROWS, "labels": ["cat", "dog"]}), "no list of integers"),
        (pickle.dumps({"data": ROWS[:0], "labels": []}), "no images"),
        (pickle.dumps({b"data": ROWS, b"labels": np.array([1, 2])}), None),
    ],
)
def test_batches_that_do_not_fit(tmp_path: Path, content: bytes, message: str | None) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    if message is None:
        assert list_cifar("cifar10", tmp_path, "test").labels.tolist() == [1, 2]
        return
    with pytest.raises(DataError, match=message) as caught:
        list_cifar("cifar10", tmp_path, "test")
    assert str(caught.value).isprintable()


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        list_cifar("cifar10", tmp_path / "nowhere", "test")
    with pytest.raises(DataError, match="no 'test_batch' there"):
        list_cifar("cifar10", tmp_path, "test")
    folder = write_dataset("cifar10", tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match="no 'data_batch_4'"):
        list_cifar("cifar10", tmp_path, "train")
    with pytest.raises(DataError, match="no 'data_batch_4' in it"):
        list_cifar("cifar10", archive(folder), "train")


def test_archives_that_bomb(tmp_path: Path) -> None:
    path = tmp_path / "cifar.tar.gz"
    header = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    header.size = 1 << 40
    path.write_bytes(gzip.compress(header.tobuf() + bytes(4096)))
    with pytest.raises(DataError, match="too large"):
        list_cifar("cifar10", path, "test")
    with tarfile.open(path, "w:gz") as tar:
        for number in range(1100):
            tar.addfile(tarfile.TarInfo(f"{number}"))
    with pytest.raises(DataError, match="too large"):
        list_cifar("cifar10", path, "test")


def test_links_in_archives_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(DataError, match="no 'test_batch' in it"):
        list_cifar("cifar10", path, "test")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_archives(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("test_batch")
        content = python2_batch(ROWS, [1, 2])
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    whole = bytearray(buffer.getvalue() if data.draw(st.booleans()) else gzip.decompress(buffer.getvalue()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(1, len(whole))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.tar.gz"
    path.write_bytes(whole)
    try:
        list_cifar("cifar10", path, "test")
    except DataError as error:
        assert str(error).isprintable()
