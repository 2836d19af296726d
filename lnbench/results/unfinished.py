"""A run that goes on, or was stopped, read without touching it: what its folder holds by now."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from lnbench import metrics
from lnbench.errors import RecordError
from lnbench.files import one_line, read_bytes
from lnbench.results import chain
from lnbench.results.bits import pack, unpack
from lnbench.results.blocks import Blocks
from lnbench.results.common import restricted, seeded_order
from lnbench.results.correct import check_count
from lnbench.results.reading import CELLS, RUN, load_json, parse, upgraded, validate
from lnbench.results.schema import Cell, Record, Rounds, Run
from lnbench.results.store import Key, make_record


def read_unfinished(folder: Path) -> Record:
    """The record of the cells that are finished, of a run in rounds on the images that all of them count.

    They carry their bits.

    A last line that is not whole is being written, and left out. RecordError where there is no cell yet, and
    for cells that were changed.
    """
    run = validate(Run, upgraded(load_json(folder / RUN)), str(folder / RUN))
    found = _cells(folder / CELLS, run)
    blocks = Blocks(folder, run, repair=False)
    if blocks and (images := _through(blocks, found, run)):
        rounds = Rounds(images=images, of=run.data.images, why="not finished")
        cells = [_up_to(images, key, blocks, found, run) for key in run.suite.keys]
        return make_record(run, cells, rounds).model_copy(update={"unfinished": True})
    if not found:
        raise RecordError(
            f"{folder} holds an unfinished run without a finished condition: give the same evaluate command "
            "to go on with it"
        )
    record = make_record(run, [found[key] for key in run.suite.keys if key in found])
    said = (*record.deviations, record.standing)
    return record.model_copy(update={"unfinished": True, "deviations": said})


def _through(blocks: Blocks, finished: Mapping[Key, Cell], run: Run) -> int:
    """The images that every cell of a run in rounds counts by now."""
    stops = [max((part.stop for part in blocks.parts(key)), default=0) for key in run.suite.keys
             if key not in finished]  # fmt: skip
    return min(stops, default=0)


def _up_to(images: int, key: Key, blocks: Blocks, finished: Mapping[Key, Cell], run: Run) -> Cell:
    """A cell of a run in rounds on the first images of its order."""
    import numpy as np

    order = seeded_order(run)
    kept = np.sort(order[:images])
    part = next((part for part in blocks.parts(key) if part.stop == images), None)
    if part is None:
        whole = finished[key]
        return restricted(whole, unpack(str(whole.correct), whole.images)[kept])
    flags = np.zeros(len(order), bool)
    flags[order[:images]] = part.flags
    scores = metrics.scores(part.sums)
    return Cell(
        mode=key[0],
        corruption=key[1].corruption,
        severity=key[1].severity,
        images=images,
        scores=scores.values,
        seconds=part.seconds,
        batch_size=part.batch_size,
        unanswered=scores.unanswered or None,
        bins=scores.bins,
        counts=dict(part.counts) or None,
        correct=pack(flags[kept]),
    )


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
