"""A data source of one function, registered by the test, through the real `lnbench evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lnbench.data import registry
from lnbench.data.arrays import list_arrays
from lnbench.data.registry import Source, source, sources
from lnbench.data.store import Listing
from lnbench.types import Condition
from tests.cli.conftest import Lnbench
from tests.networks import pictures, write_task


@pytest.fixture
def added() -> Iterator[dict[str, Source]]:
    """What a test registers is gone after it."""
    before = dict(sources())
    yield registry.SOURCES
    registry.SOURCES.clear()
    registry.SOURCES.update(before)


def mine(path: Path) -> Listing:
    images, labels = pictures(int((path / "count.txt").read_text()))
    return list_arrays(images, labels, source=f"mine:{path}", classes=tuple("abcd"), stamp=str(path))


def test_a_source_is_one_function(
    lnbench: Lnbench,
    added: dict[str, Source],
    tmp_path: Path,
) -> None:
    """Registered, it is evaluated by name and by its look, and gives what the same images give as npz."""
    model, weights, data = write_task(tmp_path, images=24)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "count.txt").write_text("24")
    source("mine", about="my pictures", looks=lambda path: (path / "count.txt").is_file())(mine)
    options = ["--model", model, "--weights", weights, "--corruption", "contrast", "--norm", "fixed"]
    tables = []
    for text in (f"mine:{tmp_path / 'set'}", tmp_path / "set", data):
        ran = lnbench("evaluate", *options, "--data", text, "--out", tmp_path / f"run{len(tables)}")
        assert ran.code == 0, ran.err
        tables.append(ran.out)
    assert tables[0] == tables[1] == tables[2]
    missing = lnbench("evaluate", *options, "--data", f"mine:{tmp_path}", "--out", tmp_path / "none")
    assert missing.code == 3
    assert (
        missing.err.strip()
        .splitlines()[-1]
        .endswith(f"mine:{tmp_path}: cannot be read: No such file or directory")
    )


def test_a_corrupted_source_is_two_functions(
    lnbench: Lnbench,
    added: dict[str, Source],
    tmp_path: Path,
) -> None:
    model, weights, _ = write_task(tmp_path, images=24)

    def stored(path: Path, condition: Condition) -> Listing:
        images, labels = pictures(24)
        images = images // np.uint8(condition.severity)
        return list_arrays(images, labels, source=f"dim:{path} {condition}", classes=None, stamp="")

    held = [Condition("contrast", 1), Condition("contrast", 4)]
    source("dim", about="dimmed pictures", conditions=lambda path: held)(stored)
    ran = lnbench("evaluate", "--model", model, "--weights", weights, "--data", f"dim:{tmp_path}",
                  "--norm", "fixed", "--out", tmp_path / "run")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "contrast" in ran.out


def test_a_list_with_its_files_elsewhere(lnbench: Lnbench, tmp_path: Path) -> None:
    """Counted and exported as the folder is; the record says where they lie."""
    model, weights, _ = write_task(tmp_path, images=24)
    images, labels = pictures(24)
    names = [f"{'abcd'[label]}/{index:02d}.png" for index, label in enumerate(labels)]
    for name, image in zip(names, images, strict=True):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "set" / name)
    (tmp_path / "some.txt").write_text("".join(f"{name} {name[0]}\n" for name in sorted(names)))
    asked = ["--corruption", "contrast", "--norm", "fixed"]
    lists = ("--data", f"list:{tmp_path / 'some.txt'}", "--root", tmp_path / "set")
    cells = []
    for number, data in enumerate([("--data", tmp_path / "set"), lists]):
        out = tmp_path / f"run{number}"
        ran = lnbench("evaluate", "--model", model, "--weights", weights, *data, *asked, "--out", out)
        assert ran.code == 0, ran.err
        record = json.loads((out / "results.json").read_text())
        cells.append([{**cell, "seconds": 0} for cell in record["cells"]])
        assert record["data"]["classes"] == list("abcd")
    assert cells[0] == cells[1]
    assert record["config"]["root"] == str(tmp_path / "set")
    out = tmp_path / "out"
    ran = lnbench("corrupt-export", *lists[1:], out, "--layout", "imagenet-c", *asked[:2], "--severity", 1)
    assert ran.code == 0, ran.err
    assert len(list((out / "contrast" / "1").rglob("*.png"))) == 24
    wrong = lnbench("evaluate", "--model", model, "--data", tmp_path / "set", "--root", tmp_path, *asked)
    assert wrong.code == 2 and "--root goes with a list of images" in wrong.err
