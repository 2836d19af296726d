"""Names that try to break out of every format."""

from __future__ import annotations

import pytest

from lnbench.results.correct import Correct, from_cells
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import make_record
from tests.results.samples import labels, make_cells, make_run

# Each of these means something to one of the formats, the terminal, a spreadsheet or GitHub.
NASTY = (
    "<script>alert(1)</script>",
    "</style><b>",
    '"onload="x',
    "a&b&amp;c",
    "a_b__c_*d*",
    "50%",
    "a|b",
    "line\nbreak",
    "car\r\nriage",
    "=cmd|' /C calc'!A0",
    " @SUM(1)",
    "-2+3",
    "$x_1$ ${HOME}",
    r"\input{x}\\",
    "`code` ``",
    "[bold red]x[/]",
    "[link](javascript:x)",
    "\x1b[31mred\x1b[0m\x07",
    "]]> <!-- -->",
    "::error::x",
    "a :tada: b::heart::",
    "{{ 7*7 }}{% raw %}",
    "_under",
    "https://example.org @user #1",
    "\u202egnp.exe",
    "日本語",
    "x" * 300,
    "\ud7ff\ufffe",
    ":smile: :warning:",
    "##[error]x ##vso[task.setvariable]",
    "\x1b]0;title\x07 \x9b31m \x85\u2028 \x7f",
    "[3cm]",
    "*star",
)


def nasty_record(name: str) -> tuple[Record, Correct]:
    """A record with `name` wherever a name can stand."""
    run = make_run(
        modes=("fixed", name),
        conditions=((name, 1), ("fog", 2)),
        names=(name, "dog", "owl", "yak"),
        spec=name,
        table=name,
        preset=name,
        deviations=(name,),
    )
    data = run.data.model_copy(update={"spec": name, "source": name, "skipped": ((name, name),)})
    model = run.model.model_copy(update={"source": name, "weights": name})
    run = Run.model_validate({**dict(run), "data": data, "model": model, "command": name})
    cells: list[Cell] = []
    for cell in make_cells(run):
        cells.append(cell.model_copy(update={"shifts": {name: 0.5}}) if cell.mode == "fixed" else cell)
    return make_record(run, cells), from_cells(cells, labels=labels(run), ids=range(40))


nasty = pytest.mark.parametrize("name", NASTY, ids=[ascii(name)[:24] for name in NASTY])
