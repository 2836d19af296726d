"""Runs that go on: what there is by now is shown and compared, marked as such, and nothing passes on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lnbench as package
from lnbench.results.schema import Run
from lnbench.results.store import RunFolder
from tests.cli.conftest import Lnbench
from tests.results.samples import labels, make_cells, make_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whole`; `part` with the first mode's cells; `worse`, a part that lost; `none` without any."""
    root = tmp_path_factory.mktemp("runs")
    run = make_run(images=200)
    for name, count, loss in (("whole", None, 0.0), ("part", 6, 0.0), ("worse", 6, 0.3), ("none", 0, 0.0)):
        write(root / name, run, count, loss)
    return root


def write(path: Path, run: Run, count: int | None, loss: float = 0.0) -> None:
    with RunFolder.create_or_resume(path, run) as folder:
        if cells := make_cells(run, loss=loss)[:count]:
            folder.append(cells)
        if count is None:
            folder.finish(labels=labels(run), ids=np.arange(run.data.images))


def of(place: Path) -> str:
    return f"6 of {len(make_run().suite.keys)} cells"


@pytest.mark.parametrize("form", ["txt", "md", "html", "tex"])
def test_a_report_says_first_that_the_run_goes_on(lnbench: Lnbench, place: Path, form: str) -> None:
    before = (place / "part" / "cells.jsonl").read_bytes()
    ran = lnbench("report", place / "part", "--format", form)
    assert ran.code == 0
    assert f"nfinished: {of(place)}; all figures are of these alone" in ran.out
    first = ran.out.index("nfinished:")
    table = ran.out.find("gaussian")
    assert form == "tex" or table < 0 or first < table or form == "txt"
    assert (place / "part" / "cells.jsonl").read_bytes() == before
    assert not (place / "part" / "results.json").exists()


def test_the_table_of_a_run_that_goes_on_has_its_banner_on_top(lnbench: Lnbench, place: Path) -> None:
    ran = lnbench("report", place / "part")
    assert ran.out.splitlines()[0] == f"Unfinished: {of(place)}; all figures are of these alone"
    assert "cells are missing" not in ran.out
    both = lnbench("report", place / "whole", place / "part")
    assert both.out.splitlines()[0] == f"part: unfinished: {of(place)}; all figures are of these alone"


def test_a_line_that_is_being_written_is_left_alone(lnbench: Lnbench, tmp_path: Path) -> None:
    write(tmp_path / "run", make_run(), 6)
    file = tmp_path / "run" / "cells.jsonl"
    torn = file.read_bytes() + b'{"mode":"ba'
    file.write_bytes(torn)
    assert f"Unfinished: {of(tmp_path)}" in lnbench("report", tmp_path / "run").out
    assert file.read_bytes() == torn
    lines = torn.splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[2], *lines[3:]]))
    ran = lnbench("report", tmp_path / "run")
    assert ran.code == 3 and "cells.jsonl line 2: the line was changed" in ran.err


def test_without_a_finished_condition_there_is_nothing_to_show(lnbench: Lnbench, place: Path) -> None:
    ran = lnbench("report", place / "none")
    assert (ran.code, ran.out) == (3, "")
    assert "holds an unfinished run without a finished condition" in ran.err


def test_a_gate_on_a_run_that_goes_on_never_passes(lnbench: Lnbench, place: Path, tmp_path: Path) -> None:
    ran = lnbench("compare", place / "whole", place / "part", "--junit", tmp_path / "out.xml", "--json",
                  tmp_path / "out.json", "--markdown", tmp_path / "out.md")  # fmt: skip
    assert ran.code == 3
    assert "UNDECIDED: no regression in the 6 cells that both runs have by now" in ran.out
    assert ran.err.splitlines()[-1] == (
        f"lnbench: undecided, the second run is unfinished: {of(place)}: finish it for an answer"
    )
    said = json.loads((tmp_path / "out.json").read_text())
    assert (said["passed"], said["failures"]) == (False, [])
    assert said["unfinished"] == [f"the second run is unfinished: {of(place)}"]
    assert 'errors="1"' in (tmp_path / "out.xml").read_text()
    assert "UNDECIDED" in (tmp_path / "out.md").read_text()


def test_a_loss_that_both_show_already_fails(lnbench: Lnbench, place: Path) -> None:
    ran = lnbench("compare", place / "whole", place / "worse")
    assert ran.code == 1
    assert "FAIL" in ran.out and f"the second run is unfinished: {of(place)}" in " ".join(ran.out.split())
    assert "is missing" not in ran.out


def test_a_rule_of_cells_to_come_waits_for_them(lnbench: Lnbench, place: Path) -> None:
    ran = lnbench("compare", place / "whole", place / "part", "--fail-if", "local/*: top1:-1pp")
    assert ran.code == 3 and "UNDECIDED" in ran.out
    nothing = lnbench("compare", place / "whole", place / "whole", "--fail-if", "nonsense/*: top1:-1pp")
    assert nothing.code == 1  # of finished runs a rule that speaks of nothing still fails


def test_no_baseline_is_made_of_it(lnbench: Lnbench, place: Path, tmp_path: Path) -> None:
    ran = lnbench("compare", place / "part", "--update-baseline", tmp_path / "base.json")
    assert ran.code == 3 and "finish it first" in ran.err
    assert not (tmp_path / "base.json").exists()


def test_from_python(place: Path) -> None:
    whole, part = package.read(place / "whole"), package.read(place / "part")
    assert len(part.cells) == 6 and "Unfinished: 6 of" in repr(part)
    found = package.compare(whole, part)
    assert not found.passed and found.failures == () and "UNDECIDED" in repr(found)
