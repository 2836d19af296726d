"""A run that goes on, or was stopped, read without touching it: what its folder holds by now."""

from __future__ import annotations

import io
from pathlib import Path

from lnbench.errors import RecordError
from lnbench.files import one_line, read_bytes
from lnbench.results import chain
from lnbench.results.bits import unpack
from lnbench.results.correct import check_count
from lnbench.results.reading import CELLS, RUN, load_json, parse, upgraded, validate
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import Key, make_record


def read_unfinished(folder: Path) -> Record:
    """The record of the cells that are finished; they carry their bits.

    A last line that is not whole is being written, and left out. RecordError where there is no cell yet, and
    for cells that were changed.
    """
    run = validate(Run, upgraded(load_json(folder / RUN)), str(folder / RUN))
    found = _cells(folder / CELLS, run)
    if not found:
        raise RecordError(
            f"{folder} holds an unfinished run without a finished condition: give the same evaluate command "
            "to go on with it"
        )
    record = make_record(run, [found[key] for key in run.suite.keys if key in found])
    said = (*record.deviations, record.standing)
    return record.model_copy(update={"unfinished": True, "deviations": said})


def _cells(file: Path, run: Run) -> dict[Key, Cell]:
    lines = io.BytesIO(read_bytes(file) if file.exists() else b"").readlines()
    expected, cells, linked = set(run.suite.keys), dict[Key, Cell](), False
    last = chain.start(run.model.sha256, run.data.fingerprint)
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        try:
            text, last, linked = chain.unlink(last, line, linked)
            cell = parse(Cell, text, "not a cell")
            if cell.key not in expected or cell.key in cells or cell.correct is None:
                raise RecordError(f"cell {one_line(cell.name, 80)} does not belong there")
            check_count(cell, int(unpack(cell.correct, cell.images).sum()), "not whole")
        except RecordError as error:
            raise RecordError(f"{file} line {number}: {error}") from None
        cells[cell.key] = cell
    return cells
