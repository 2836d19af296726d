"""Specs, and what a bare path is taken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lnbench.data.demo import open_demo
from lnbench.data.sources import KINDS, PRECOMPUTED, SPLIT, DataSpec, open_store, parse
from lnbench.errors import DataError, LnbenchError, UsageError
from lnbench.types import Geometry
from tests.data.conftest import pixels
from tests.data.test_cifar import archive, write_dataset


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"demo"}))
def test_every_prefix(kind: str) -> None:
    spec = parse(f"{kind}:some/where")
    assert spec == DataSpec(kind, Path("some/where"))
    assert spec.note == ""
    assert str(spec) == f"{kind}:some/where"
    assert spec.precomputed == (kind in PRECOMPUTED)
    with pytest.raises(UsageError, match=f"lacks the path: {kind}:PATH"):
        parse(f"{kind}:")


def test_splits() -> None:
    assert parse("demo") == DataSpec("demo", None)
    assert parse("demo:train") == DataSpec("demo", None, "train")
    assert parse("cifar10:x:train") == DataSpec("cifar10", Path("x"), "train")
    assert parse("cifar100:x:test") == DataSpec("cifar100", Path("x"), "test")
    assert parse("folder:x:train") == DataSpec("folder", Path("x:train"))
    for text in ("demo", "demo:train", "cifar10:x", "cifar10:x:train", "npz:a:b.npz"):
        assert str(parse(text)) == text
    assert {"demo", "cifar10", "cifar100"} == SPLIT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folders:x", "did you mean folder"),
        ("cifar:x", "did you mean cifar10"),
        ("demo:val", "the demo has no path"),
        ("", "is no path"),
        ("a\0b", "is no path"),
    ],
)
def test_wrong_usage(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_bare_paths(tmp_path: Path, class_folder: Path) -> None:
    npz = tmp_path / "x.npz"
    npz.touch()
    ten, hundred = write_dataset("cifar10", tmp_path / "10"), write_dataset("cifar100", tmp_path / "100")
    ten_c, hundred_c, net_c = tmp_path / "10c", tmp_path / "100c", tmp_path / "netc"
    for folder, top in ((ten_c, 9), (hundred_c, 99)):
        folder.mkdir()
        np.save(folder / "labels.npy", np.array([0, top]))
    (net_c / "fog" / "3" / "cat").mkdir(parents=True)
    expected = {
        npz: "npz",
        class_folder: "folder",
        ten: "cifar10",
        ten.parent: "cifar10",
        ten / "test_batch": "cifar10",
        archive(ten): "cifar10",
        hundred: "cifar100",
        hundred.parent: "cifar100",
        archive(hundred): "cifar100",
        ten_c: "cifar10-c",
        hundred_c: "cifar100-c",
        net_c: "imagenet-c",
    }
    for path, kind in expected.items():
        spec = parse(str(path))
        assert spec == DataSpec(kind, path), path
        assert spec.note == f"took {path} for {KINDS[kind]} ({kind}:{path})"
        assert parse(str(spec)) == spec


def test_a_class_named_like_a_severity_is_still_a_class(tmp_path: Path) -> None:
    for name in ("0/1/x.png", "1/2/x.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(pixels(0)).save(tmp_path / name)
    assert parse(str(tmp_path)).kind == "folder"


@pytest.mark.parametrize("name", ["photo.jpg", "set.zip", "set.tar.gz"])
def test_files_that_are_no_dataset(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError):
        parse(str(tmp_path / name))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        parse(str(tmp_path / "nowhere"))
    for kind in sorted(set(KINDS) - PRECOMPUTED - {"demo"}):
        with pytest.raises(DataError, match="no such"):
            open_store(parse(f"{kind}:{tmp_path}/nowhere"), Geometry())


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
        open_store(parse("folder:" + "x" * 5000), Geometry())


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_demo(split: str) -> None:
    images, labels, classes = open_demo(split)  # type: ignore[arg-type]
    store = open_store(parse("demo" if split == "test" else "demo:train"), Geometry())
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.labels, labels)
    assert store.classes == classes
    assert store.named


def test_a_real_file(cifar_npz: Path) -> None:
    store = open_store(parse(str(cifar_npz)), Geometry(), limit=100, seed=3)
    assert np.bincount(store.labels).tolist() == [10] * 10
    assert store.total == 846
    assert store.source == f"npz:{cifar_npz}"


def test_precomputed_sets_have_their_own_door(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="precomputed"):
        open_store(parse(f"imagenet-c:{tmp_path}"), Geometry())
