"""The baseline file: a record with its bits in one small text that reads well as a git diff."""

from __future__ import annotations

from pathlib import Path

from lnbench.errors import RecordError
from lnbench.results.bits import pack
from lnbench.results.correct import Correct
from lnbench.results.marks import write_output
from lnbench.results.reading import document, dump, sealed
from lnbench.results.schema import Record

DIGITS = 6  # of scores that count no images: what a machine's thread count changes lies beyond


def baseline_bytes(record: Record, correct: Correct) -> bytes:
    """The record as a baseline: one line for each cell in order of name, its bits with it.

    Left out is what changes without the result changing, or only explains it: timings, bins, a stream's
    course, the command, the date and where files lay. The same run gives the same bytes.
    """
    cells = []
    for cell in sorted(record.cells, key=lambda cell: (cell.mode, cell.corruption, cell.severity)):
        bits = pack(correct.flags[cell.key])
        scores = {name: _rounded(value, cell.images) for name, value in cell.scores.items()}
        dropped = dict.fromkeys(("seconds", "bins", "shifts", "counts", "course"))
        kept = cell.model_copy(update={"scores": scores, **dropped, "correct": bits})
        cells.append(kept.model_dump(mode="json", exclude_none=True))
    content = dump(record)
    content |= {"command": "", "started": "", "cells": cells}
    content["model"]["weights"] = None
    content["environment"]["platform"] = ""
    return document(sealed(content))


def write_baseline(path: Path, record: Record, correct: Correct | None) -> None:
    """Write the baseline file of a complete run. RecordError when bits or cells are missing."""
    if correct is None:
        raise RecordError("a baseline needs the run's correct.npz beside its results.json")
    missing = len(record.suite.keys) - len(record.cells)
    if missing:
        raise RecordError(f"the run lacks {missing} of its {len(record.suite.keys)} cells: finish it first")
    write_output(path, baseline_bytes(record, correct))


def _rounded(value: float | None, images: int) -> float | None:
    """A share of the images stays as it is, so that a rule of no loss at all holds it to the last digit."""
    if value is None or value == round(value * images) / images:
        return value
    return round(value, DIGITS)
