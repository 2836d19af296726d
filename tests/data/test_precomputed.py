"""Corrupted sets made elsewhere, in the published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lnbench.data.loading import open_store
from lnbench.data.sources.cifar import CIFAR10
from lnbench.data.specs import DataSpec, conditions, parse
from lnbench.data.store import Decoding
from lnbench.errors import DataError
from lnbench.types import CLEAN, Condition, Geometry
from tests.data.conftest import pixels

RAW = Decoding()


def write_arrays(folder: Path, count: int = 6, names: tuple[str, ...] = ("fog", "contrast")) -> DataSpec:
    """CIFAR-C arrays whose image `i` at severity `s` of corruption `k` is pixels(1000·k + 100·s + i)."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "labels.npy", np.tile(np.arange(count) % 10, 5).astype(np.uint8))
    for k, name in enumerate(names):
        rows = [pixels(1000 * k + 100 * s + i, 32, 32) for s in range(1, 6) for i in range(count)]
        np.save(folder / f"{name}.npy", np.stack(rows))
    return parse(f"cifar10-c:{folder}")


def write_folders(root: Path, suffix: str = "png") -> DataSpec:
    """A partial ImageNet-C: fog 1 and 3, contrast 5; three classes of one image."""
    for name in ("fog/1", "fog/3", "contrast/5"):
        for label in range(3):
            folder = root / name / f"n{label}"
            folder.mkdir(parents=True)
            Image.fromarray(pixels(len(name) * 10 + label)).save(folder / f"x.{suffix}")
    return parse(f"imagenet-c:{root}")


def test_arrays_severity_by_severity(tmp_path: Path) -> None:
    spec = write_arrays(tmp_path)
    assert conditions(spec) == tuple(Condition(name, s) for name in ("contrast", "fog") for s in range(1, 6))
    for k, name in enumerate(("fog", "contrast")):
        for s in range(1, 6):
            store = open_store(spec, RAW, Condition(name, s))
            expected = np.stack([pixels(1000 * k + 100 * s + i, 32, 32) for i in range(6)])
            np.testing.assert_array_equal(store.images, expected.transpose(0, 3, 1, 2))
            assert store.labels.tolist() == list(range(6))
            assert store.ids.tolist() == list(range(6))
            assert store.classes == CIFAR10
            assert store.total == 6


def test_limits_take_the_same_images_of_every_condition(tmp_path: Path) -> None:
    spec = write_arrays(tmp_path, count=40)
    stores = [open_store(spec, Decoding(limit=13, seed=2), condition) for condition in conditions(spec)]
    assert len({store.ids.tobytes() for store in stores}) == 1
    assert len({store.fingerprint for store in stores}) == len(stores)


def test_a_clean_array_may_lie_beside_them(tmp_path: Path) -> None:
    spec = write_arrays(tmp_path)
    clean = np.stack([pixels(i, 32, 32) for i in range(6)])
    np.save(tmp_path / "clean.npy", clean)
    assert CLEAN in conditions(spec)
    np.testing.assert_array_equal(open_store(spec, RAW, CLEAN).images, clean.transpose(0, 3, 1, 2))


def test_arrays_with_a_geometry_and_a_cache(tmp_path: Path) -> None:
    spec = write_arrays(tmp_path / "set")
    cached = Decoding(Geometry(48), cache=tmp_path / "cache")
    for _ in range(2):
        stores = [open_store(spec, cached, condition) for condition in conditions(spec)]
        assert {store.images.shape for store in stores} == {(6, 3, 48, 48)}
    assert len(list((tmp_path / "cache").glob("*.lnstore"))) == 10


@pytest.mark.parametrize("suffix", ["png", "JPEG"])
def test_partial_folders_are_listed_and_read(tmp_path: Path, suffix: str) -> None:
    spec = write_folders(tmp_path, suffix)
    assert conditions(spec) == (Condition("contrast", 5), Condition("fog", 1), Condition("fog", 3))
    for condition in conditions(spec):
        store = open_store(spec, RAW, condition)
        assert store.labels.tolist() == [0, 1, 2]
        assert store.classes == ("n0", "n1", "n2")
        folder = tmp_path / condition.corruption / f"{condition.severity:g}"
        for image, name in zip(store.images, store.names, strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(folder / name)).transpose(2, 0, 1))


def test_folders_in_between_clean_and_beside(tmp_path: Path) -> None:
    spec = write_folders(tmp_path)
    for name in ("fog/2.5", "clean/0", "fog/0", "fog/05", "fog/notes", "docs/x"):
        for label in range(3):
            (tmp_path / name / f"n{label}").mkdir(parents=True)
    expected = (
        CLEAN,
        Condition("contrast", 5),
        Condition("fog", 1),
        Condition("fog", 2.5),
        Condition("fog", 3),
    )
    assert conditions(spec) == expected


def test_classes_must_agree_between_conditions(tmp_path: Path) -> None:
    spec = write_folders(tmp_path)
    (tmp_path / "fog" / "3" / "n7").mkdir()
    with pytest.raises(DataError, match=r"differ in their classes \('n7'\)"):
        conditions(spec)


def test_what_is_not_there(tmp_path: Path) -> None:
    arrays, folders = write_arrays(tmp_path / "a"), write_folders(tmp_path / "f")
    for spec in (arrays, folders):
        for condition in (Condition("snow", 1), Condition("fog", 2.5), CLEAN):
            with pytest.raises(DataError, match="holds no"):
                open_store(spec, RAW, condition)


@pytest.mark.parametrize("kind", ["cifar10-c", "imagenet-c"])
def test_no_conditions(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="no such folder"):
        conditions(parse(f"{kind}:{tmp_path}/nowhere"))
    with pytest.raises(DataError, match=r"labels\.npy|holds no conditions"):
        conditions(parse(f"{kind}:{tmp_path}"))
    np.save(tmp_path / "labels.npy", np.zeros(5, int))
    with pytest.raises(DataError, match="holds no conditions; its layout should be"):
        conditions(parse(f"{kind}:{tmp_path}"))


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (np.zeros((10, 32, 32, 3), np.uint8), np.zeros(15, int), "10 images, but labels.npy asks for 15"),
        (np.zeros((10, 32, 32, 3), np.float32), np.zeros(10, int), "must be uint8"),
        (np.zeros((10, 3, 32, 32), np.uint8), np.zeros(10, int), "channels last"),
        (np.zeros((11, 32, 32, 3), np.uint8), np.zeros(11, int), "5·n integers"),
        (np.zeros((10, 32, 32, 3), np.uint8), np.zeros(10), "5·n integers"),
        (np.zeros((10, 32, 32, 3), np.uint8), np.zeros((10, 10), int), "5·n integers"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, rows: np.ndarray, labels: np.ndarray, message: str) -> None:
    np.save(tmp_path / "fog.npy", rows)
    np.save(tmp_path / "labels.npy", labels)
    spec = parse(f"cifar10-c:{tmp_path}")
    with pytest.raises(DataError, match=message):
        conditions(spec)
    with pytest.raises(DataError, match=message):
        open_store(spec, RAW, Condition("fog", 1))


def test_labels_outside_the_classes(tmp_path: Path) -> None:
    spec = write_arrays(tmp_path)
    np.save(tmp_path / "labels.npy", np.full(30, 10))
    with pytest.raises(DataError, match="label 10 lies outside 0…9"):
        open_store(spec, RAW, Condition("fog", 1))


def test_damaged_arrays(tmp_path: Path) -> None:
    spec = write_arrays(tmp_path)
    path = tmp_path / "fog.npy"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:100], b"", b"PK\x03\x04" + whole):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"fog\.npy: not a readable npy"):
            open_store(spec, RAW, Condition("fog", 1))
