"""What is exported reads back exactly, survives interruption, and stays in its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lnbench.data.folder import list_folder
from lnbench.data.loading import open_store
from lnbench.data.manifest import MANIFEST
from lnbench.data.specs import conditions, parse
from lnbench.data.store import Decoding, Store
from lnbench.errors import DataError, UsageError
from lnbench.pictures.layouts import LAYOUTS, Writer, open_export
from lnbench.types import CLEAN, Condition
from tests.data.conftest import pixels
from tests.data.test_loading import opened

RAW = Decoding()
PLAN = [CLEAN, *(Condition(name, s) for name in ("contrast", "fog") for s in range(1, 6))]
IDENTITY = {"seed": "0", "table": "imagenet"}


def store_of(labels: Sequence[int], classes: Sequence[str], names: Sequence[str]) -> Store:
    count = len(labels)
    images = np.stack([pixels(index, 33, 36).transpose(2, 0, 1) for index in range(count)])
    return Store(
        images=images,
        labels=np.array(labels, np.int64),
        ids=np.arange(count, dtype=np.int64),
        classes=tuple(classes),
        fingerprint="f" * 64,
        source="test",
        skipped=(),
        total=count,
        names=tuple(names),
    )


PLAIN = store_of(
    [0, 0, 1, 1, 2], ["ant", "bee", "cat"], ["ant/1.jpg", "ant/2.jpg", "bee/1.jpg", "bee/x.jpg", "cat/1.png"]
)


def corrupted(store: Store, condition: Condition) -> np.ndarray:
    """A stand-in for a corruption: different pixels for each image and condition."""
    return store.images ^ np.uint8(PLAN.index(condition) * 17)


def write_all(writer: Writer, store: Store, condition: Condition, order: np.ndarray | None = None) -> None:
    order = np.arange(len(store.ids)) if order is None else order
    for start in range(0, len(order), 2):
        chunk = order[start : start + 2]
        writer.write(condition, chunk, corrupted(store, condition)[chunk])
    writer.finish(condition)


def start(
    root: Path, layout: str, store: Store = PLAIN, plan: Sequence[Condition] = PLAN, **options: Any
) -> Writer:
    return open_export(root, layout, store, plan, identity=options.pop("identity", IDENTITY), **options)


def reader(root: Path, layout: str) -> Any:
    return parse(f"{'imagenet-c' if layout == 'imagenet-c' else 'cifar10-c'}:{root}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_everything_reads_back_exactly(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "deep" / "out"
    writer = start(root, layout)
    order = np.array([3, 1, 4, 0, 2])
    for condition in PLAN:
        assert not writer.finished(condition)
        write_all(writer, PLAIN, condition, order)
        assert writer.finished(condition)
    spec = reader(root, layout)
    assert set(conditions(spec)) == set(PLAN)
    for condition in PLAN:
        store = open_store(spec, RAW, condition)
        np.testing.assert_array_equal(store.images, corrupted(PLAIN, condition))
        np.testing.assert_array_equal(store.labels, PLAIN.labels)
        np.testing.assert_array_equal(store.ids, PLAIN.ids)
        assert store.classes == PLAIN.classes
    assert not list(root.rglob(".*"))  # no drafts


def test_a_real_subset_survives_the_trip(cifar_jpegs: Path, tmp_path: Path) -> None:
    store = opened(list_folder(cifar_jpegs), limit=23, seed=1)
    plan = [Condition("fog", 3)]
    writer = open_export(tmp_path / "out", "imagenet-c", store, plan, identity={})
    writer.write(plan[0], np.arange(23), store.images)
    writer.finish(plan[0])
    back = open_store(parse(f"imagenet-c:{tmp_path / 'out'}"), RAW, plan[0])
    np.testing.assert_array_equal(back.images, store.images)
    np.testing.assert_array_equal(back.labels, store.labels)
    assert back.classes == store.classes
    assert [Path(name).stem for name in back.names] == [Path(name).stem for name in store.names]


def test_published_names_and_jpeg_quality(tmp_path: Path) -> None:
    plan = [Condition("fog", 2.5)]
    for quality in (30, 95):
        root = tmp_path / str(quality)
        writer = start(root, "imagenet-c", plan=plan, quality=quality)
        writer.write(plan[0], np.arange(5), PLAIN.images)
        writer.finish(plan[0])
        with Image.open(root / "fog" / "2.5" / "bee" / "x.JPEG") as picture:
            assert picture.format == "JPEG"
    small, large = (sum(path.stat().st_size for path in (tmp_path / q).rglob("*.JPEG")) for q in ("30", "95"))
    assert small < large


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_interrupted_export_goes_on(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "out"
    writer = start(root, layout)
    write_all(writer, PLAIN, PLAN[2])
    writer.write(PLAN[3], np.array([0, 1]), np.zeros_like(PLAIN.images[:2]))  # and then the power fails
    if layout == "imagenet-c":
        assert conditions(reader(root, layout)) == (PLAN[2],)
    else:
        with pytest.raises(DataError, match="holds no conditions"):
            conditions(reader(root, layout))
    again = start(root, layout)
    assert [condition for condition in PLAN if again.finished(condition)] == [PLAN[2]]
    for condition in PLAN:
        if not again.finished(condition):
            write_all(again, PLAIN, condition)
    for condition in PLAN:
        np.testing.assert_array_equal(
            open_store(reader(root, layout), RAW, condition).images, corrupted(PLAIN, condition)
        )
    assert all(start(root, layout).finished(condition) for condition in PLAN)


def test_a_lost_unfinished_array_is_written_again(tmp_path: Path) -> None:
    write_all(start(tmp_path / "out", "cifar-c"), PLAIN, PLAN[1])
    [path] = (tmp_path / "out").glob(".contrast.npy.partial")
    path.unlink()
    assert not start(tmp_path / "out", "cifar-c").finished(PLAN[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_a_condition_cannot_be_finished(tmp_path: Path, layout: str) -> None:
    writer = start(tmp_path / "out", layout)
    with pytest.raises(ValueError, match="before all its images"):
        writer.finish(PLAN[1])
    writer.write(PLAN[1], np.array([0, 1]), PLAIN.images[:2])
    with pytest.raises(ValueError, match="before all its images"):
        writer.finish(PLAN[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": {**IDENTITY, "seed": "1"}}, r"another export \(seed: 0, now 1\)"),
        ({"identity": {"seed": "0"}}, r"\(table: imagenet, now none\)"),
        ({"quality": 85}, r"\(quality: lossless, now 85\)"),
        ({"layout": "cifar-c"}, r"\(layout: imagenet-c, now cifar-c\)"),
        ({"store": store_of([0], ["ant", "bee", "dog"], ["x"])}, r"\(classes: "),
    ],
)
def test_another_export_is_not_mixed_in(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    start(tmp_path / "out", "imagenet-c")
    options = {"layout": "imagenet-c", **change}
    with pytest.raises(DataError, match=message):
        start(tmp_path / "out", **options)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match="not empty and holds no export"):
        start(tmp_path, "imagenet-c")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    (tmp_path / "holiday.jpg").unlink()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        start(tmp_path / "file" / "out", "imagenet-c")


HOSTILE = [
    "../../up",
    "..",
    "/etc/passwd",
    "a\0b",
    "CON",
    "con",
    "A",
    "a",
    ".hidden",
    "x" * 300,
    "",
    "naïve\ud800",
]


def test_hostile_names_stay_inside_and_keep_their_labels(tmp_path: Path) -> None:
    count = len(HOSTILE)
    store = store_of(range(count), HOSTILE, [f"{name}/{name}.png" for name in HOSTILE])
    plan = [Condition("fog", 1)]
    root = tmp_path / "a" / "b" / "out"
    writer = open_export(root, "imagenet-c", store, plan, identity={})
    writer.write(plan[0], np.arange(count), store.images)
    writer.finish(plan[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert sorted(path.name for path in root.iterdir()) == ["fog", MANIFEST]
    back = open_store(parse(f"imagenet-c:{root}"), RAW, plan[0])
    np.testing.assert_array_equal(back.images, store.images)
    assert back.labels.tolist() == list(range(count))


def test_many_images_of_one_name_are_kept_apart_in_order(tmp_path: Path) -> None:
    names = ["a/x.png", "a/x.jpg", "a/deep/x.jpg", "a/X.png", "a/w.png"]
    store = store_of([0] * 5, ["a"], names)
    plan = [Condition("fog", 1)]
    writer = open_export(tmp_path / "out", "imagenet-c", store, plan, identity={})
    writer.write(plan[0], np.arange(5), store.images)
    writer.finish(plan[0])
    back = open_store(parse(f"imagenet-c:{tmp_path / 'out'}"), RAW, plan[0])
    np.testing.assert_array_equal(back.images, store.images)


def test_empty_classes_are_exported_too(tmp_path: Path) -> None:
    store = store_of([0, 2], ["ant", "bee", "cat"], ["ant/1.png", "cat/1.png"])
    plan = [Condition("fog", 1)]
    writer = open_export(tmp_path / "out", "imagenet-c", store, plan, identity={})
    writer.write(plan[0], np.arange(2), store.images)
    writer.finish(plan[0])
    back = open_store(parse(f"imagenet-c:{tmp_path / 'out'}"), RAW, plan[0])
    assert back.labels.tolist() == [0, 2]
    assert back.classes == store.classes


@pytest.mark.parametrize(
    ("layout", "plan", "options", "message"),
    [
        ("zip", PLAN, {}, "unknown layout 'zip'"),
        ("cifar-c", [Condition("fog", 3)], {}, "severities 1 to 5"),
        ("cifar-c", [*PLAN, Condition("fog", 2.5)], {}, "severities 1 to 5"),
        ("cifar-c", PLAN, {"quality": 85}, "belongs to the layout imagenet-c"),
        ("imagenet-c", PLAN, {"quality": 0}, "lies in 1–95"),
        ("imagenet-c", [Condition("../fog", 1)], {}, "no name for a file"),
    ],
)
def test_plans_that_cannot_be(
    tmp_path: Path, layout: str, plan: list[Condition], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        start(tmp_path / "out", layout, plan=plan, **options)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = start(tmp_path / "out", "imagenet-c")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError, match="No space left on device"):
        writer.write(PLAN[1], np.arange(5), PLAIN.images)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs the system to reserve disk")
@pytest.mark.parametrize("continued", [False, True])
def test_the_place_of_an_array_is_taken_before_it_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, continued: bool
) -> None:
    """A write to a mapped file on a full disk is a signal that nobody can catch."""
    root = tmp_path / "out"
    if continued:
        start(root, "cifar-c").write(PLAN[1], np.arange(2), PLAIN.images[:2])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = start(root, "cifar-c")
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match="No space left on device"):
            writer.write(PLAN[1], np.arange(5), PLAIN.images)
    assert bool([path for path in root.iterdir() if path.name.endswith(".partial")]) == continued
    write_all(start(root, "cifar-c"), PLAIN, PLAN[1])


def test_an_array_is_not_written_through_a_link(tmp_path: Path) -> None:
    root = tmp_path / "out"
    start(root, "cifar-c")
    (tmp_path / "victim").write_bytes(b"mine")
    (root / f".{PLAN[1].corruption}.npy.partial").symlink_to(tmp_path / "victim")
    start(root, "cifar-c").write(PLAN[1], np.arange(2), PLAIN.images[:2])
    assert (tmp_path / "victim").read_bytes() == b"mine"
