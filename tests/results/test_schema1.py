"""What lnbench wrote under schema 1 is still read, compared and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lnbench.errors import RecordError
from lnbench.results.compare import compare
from lnbench.results.correct import from_cells, read_correct
from lnbench.results.reading import checksum, read
from lnbench.results.store import RunFolder
from tests.results.golden import sample
from tests.results.samples import make_cells, make_run

OLD = Path(__file__).parent / "schema1"

FILES = (OLD / "results.json", OLD / "baseline.json", OLD / "demo.json")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_old_records_read_with_every_score(file: Path) -> None:
    content = json.loads(file.read_text())
    assert content["schema"] == 1 and content["environment"]["deterministic"] == {}
    record = read(file)
    assert record.version == 2 and record.suite.baseline == "alexnet"
    for old, cell in zip(content["cells"], record.cells, strict=True):
        assert cell.scores == {name: old[name] for name in ("top1", "top5", "nll", "ece")}
    none = {"shifts": {}}  # schema 1 knew no natural shifts
    old_summary = {mode: summary | none for mode, summary in content["summary"].items()}
    assert {m: s.model_dump(mode="json") for m, s in record.summary.items()} == old_summary


def test_an_old_record_is_the_new_one() -> None:
    old, (new, _) = read(OLD / "results.json"), sample(generator=1)
    assert old.cells == read_without_bits(new.cells) and old.suite == new.suite
    assert (old.summary, old.environment) == (new.summary, new.environment)


def read_without_bits(cells: tuple) -> tuple:  # type: ignore[type-arg]
    return tuple(cell.model_copy(update={"correct": None}) for cell in cells)


def test_an_old_baseline_gates_a_new_run() -> None:
    old = read(OLD / "baseline.json")
    new, bits = sample(generator=1)
    assert compare(old, new, read_correct(OLD / "baseline.json", old), bits).passed
    worse, worse_bits = sample(loss=0.3, generator=1)
    assert not compare(old, worse, read_correct(OLD / "baseline.json", old), worse_bits).passed


def test_an_unfinished_run_folder_is_gone_on_with(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(OLD / "unfinished", tmp_path / "run"))
    run = make_run(generator=1)
    run = run.model_copy(update={"config": {**run.config, "baseline": "alexnet"}})
    cells = make_cells(run)
    with RunFolder.create_or_resume(folder, run) as opened:
        assert opened.cells == cells[:4]
        opened.append(cells[4:])
        record = opened.finish(labels=range(40), ids=range(40))
    assert record.deviations == () and read(folder) == record.model_copy(
        update={"cells": read_without_bits(record.cells)}
    )
    assert json.loads((folder / "results.json").read_text())["schema"] == 2
    assert from_cells(cells).flags.keys() == {cell.key for cell in record.cells}


@pytest.mark.parametrize("part", ["suite", "config", "environment", "cells"])
@pytest.mark.parametrize("value", [None, 3, ["y"], "x"], ids=repr)
def test_an_old_record_that_makes_no_sense(tmp_path: Path, part: str, value: object) -> None:
    content = json.loads((OLD / "results.json").read_text()) | {part: value}
    content["checksum"] = checksum(content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(RecordError) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)
