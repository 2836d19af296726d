"""cells.jsonl: no line of it is changed, left out or moved unseen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnbench.errors import RecordError
from lnbench.results.bits import pack, unpack
from lnbench.results.store import RunFolder
from tests.results.samples import make_cells, make_run


def altered(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell with one more image right, in its rate and in its bits."""
    right = unpack(cell["correct"], cell["images"])
    right[int(np.flatnonzero(~right)[0])] = True
    return {**cell, "top1": float(right.mean()), "correct": pack(right)}


def dense(cell: dict[str, Any]) -> str:
    return json.dumps(cell, separators=(",", ":")) + "\n"


EDITS: dict[str, Callable[[list[str]], list[str]]] = {
    "a rate": lambda lines: [lines[0], lines[1].replace('"top1":', '"top1":0'), *lines[2:]],
    "a rate with its bits": lambda lines: [lines[0], dense(altered(json.loads(lines[1]))), *lines[2:]],
    "the first line with its bits": lambda lines: [dense(altered(json.loads(lines[0]))), *lines[1:]],
    "without its hash": lambda lines: [lines[0], re.sub(',"chain":"[0-9a-f]*"', "", lines[1]), *lines[2:]],
    "left out": lambda lines: [lines[0], *lines[2:]],
    "moved": lambda lines: [lines[1], lines[0], *lines[2:]],
    "twice": lambda lines: [lines[0], *lines],
    "a score added": lambda lines: [lines[0].replace('"nll":', '"other":1,"nll":'), *lines[1:]],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_line_in_the_middle_that_was_changed_is_named(tmp_path: Path, edit: str) -> None:
    run = make_run()
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(make_cells(run)[:2])
        folder.append(make_cells(run)[2:4])
    file = tmp_path / "cells.jsonl"
    file.write_text("".join(EDITS[edit](file.read_text().splitlines(keepends=True))))
    before = file.read_bytes()
    with pytest.raises(RecordError, match=r"cells.jsonl line \d: .*; delete it and the lines after it"):
        RunFolder.create_or_resume(tmp_path, run)
    assert file.read_bytes() == before


def test_a_last_line_that_was_changed_is_computed_again(tmp_path: Path) -> None:
    run = make_run()
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(make_cells(run)[:2])
    lines = (tmp_path / "cells.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cells.jsonl").write_text(lines[0] + dense(altered(json.loads(lines[1]))))
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        assert folder.finished() == {make_cells(run)[0].key}


def test_lines_from_before_hashes_are_read_and_held_by_the_next(tmp_path: Path) -> None:
    run = make_run()
    cells = make_cells(run)
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(cells[:2])
    file = tmp_path / "cells.jsonl"
    file.write_text(re.sub(',"chain":"[0-9a-f]*"', "", file.read_text()))
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(cells[2:])
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        assert folder.cells == cells
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(dense(altered(json.loads(lines[0]))) + "".join(lines[1:]))
    with pytest.raises(RecordError, match=r"cells.jsonl line 3: the line was changed, or one before it"):
        RunFolder.create_or_resume(tmp_path, run)


def test_lines_of_another_network_do_not_fit(tmp_path: Path) -> None:
    for name in "ab":
        run = make_run(sha256=name * 64)
        with RunFolder.create_or_resume(tmp_path / name, run) as folder:
            folder.append(make_cells(run)[:3])
    (tmp_path / "a" / "cells.jsonl").write_bytes((tmp_path / "b" / "cells.jsonl").read_bytes())
    with pytest.raises(RecordError, match="line 1: the line was changed"):
        RunFolder.create_or_resume(tmp_path / "a", make_run(sha256="a" * 64))
