"""Specs, and what a bare path is taken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lnbench.data.demo import open_demo
from lnbench.data.loading import open_store
from lnbench.data.specs import DataSpec, conditions, listing, parse
from lnbench.data.store import Decoding
from lnbench.errors import DataError, LnbenchError, UsageError
from lnbench.types import Condition
from tests.data.conftest import pixels
from tests.data.test_cifar import archive, write_dataset

RAW = Decoding()


def test_splits() -> None:
    assert parse("demo") == DataSpec("demo", None)
    assert parse("demo:train") == DataSpec("demo", None, "train")
    assert parse("cifar10:x:train") == DataSpec("cifar10", Path("x"), "train")
    assert parse("cifar100:x:test") == DataSpec("cifar100", Path("x"), "test")
    assert parse("folder:x:train") == DataSpec("folder", Path("x:train"))
    for text in ("demo", "demo:train", "cifar10:x", "cifar10:x:train", "npz:a:b.npz"):
        assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folders:x", "did you mean folder"),
        ("cifar:x", "did you mean cifar10"),
        ("demo:val", r"the built-in demo has no path, write demo\[:train\]"),
        ("cifar10::train", r"lacks the path: cifar10:PATH\[:train\]"),
        ("", "is no path"),
        ("a\0b", "is no path"),
    ],
)
def test_wrong_usage(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_bare_paths(tmp_path: Path, class_folder: Path) -> None:
    """Every place of one kind, and those that bear the marks of two."""
    ten, hundred = write_dataset("cifar10", tmp_path / "10"), write_dataset("cifar100", tmp_path / "100")
    both = write_dataset("cifar10", tmp_path / "both")
    write_dataset("cifar100", tmp_path / "both")
    for folder, top in ((tmp_path / "10c", 9), (tmp_path / "100c", 99), (hundred, 3)):
        folder.mkdir(exist_ok=True)
        np.save(folder / "labels.npy", np.array([0, top]))
        (folder / "fog" / "3" / "cat").mkdir(parents=True)
    np.save(tmp_path / "100c" / "labels.npy", np.array([], int))
    (tmp_path / "x.npz").mkdir()
    (tmp_path / "y.NPZ").touch()
    expected = {
        tmp_path / "x.npz": "folder",
        tmp_path / "y.NPZ": "npz",
        class_folder: "folder",
        ten.parent: "cifar10",
        ten / "test_batch": "cifar10",
        ten / "data_batch_4": "cifar10",
        archive(ten): "cifar10",
        both.parent: "cifar10",
        hundred: "cifar100",
        hundred.parent: "cifar100",
        archive(hundred): "cifar100",
        tmp_path / "10c": "cifar10-c",
        tmp_path / "100c": "cifar100-c",
    }
    for path, kind in expected.items():
        assert parse(str(path)) == DataSpec(kind, path), path


def test_a_class_named_like_a_severity_is_still_a_class(tmp_path: Path) -> None:
    for name in ("0/1/x.png", "1/2/x.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(pixels(0)).save(tmp_path / name)
    assert parse(str(tmp_path)).kind == "folder"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo.jpg", "not a dataset; known are cifar10, "),
        ("test", "not a dataset"),  # a lone file of CIFAR-100 could be anything
        ("nowhere", "no such file or folder"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, name: str, message: str) -> None:
    if name != "nowhere":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        parse(str(tmp_path / name))


def test_damaged_labels_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.npy").write_bytes(b"x")
    with pytest.raises(DataError, match=r"labels\.npy: not a readable npy file"):
        parse(str(tmp_path))


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_an_error_in_one_line(text: str) -> None:
    try:
        parse(text)
    except LnbenchError as error:
        assert len(str(error).splitlines()) == 1 or "\n" in text or not text.isprintable()


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse("folder:~/x").path == tmp_path / "x"
    assert parse("folder:~nobody-there/x").path == Path("~nobody-there/x")


def test_a_name_too_long_for_a_path() -> None:
    with pytest.raises(LnbenchError):
        parse("x" * 5000)
    with pytest.raises(LnbenchError):
        open_store(parse("folder:" + "x" * 5000), RAW)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_demo(split: str) -> None:
    images, labels, classes = open_demo(split)  # type: ignore[arg-type]
    store = open_store(parse("demo" if split == "test" else "demo:train"), RAW)
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.labels, labels)
    assert store.classes == classes
    assert store.named


def test_a_real_file(cifar_npz: Path) -> None:
    store = open_store(parse(str(cifar_npz)), Decoding(limit=100, seed=3))
    assert np.bincount(store.labels).tolist() == [10] * 10
    assert store.total == 846
    assert store.source == f"npz:{cifar_npz}"


def test_precomputed_sets_are_opened_by_condition_and_no_others_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is precomputed and has no clean images"):
        listing(parse(f"imagenet-c:{tmp_path}"))
    with pytest.raises(DataError, match="no such folder"):
        listing(parse(f"imagenet-c:{tmp_path}/nowhere"), Condition("fog", 1))
    with pytest.raises(ValueError, match="not a precomputed set"):
        conditions(parse(f"folder:{tmp_path}"))
