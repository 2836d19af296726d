"""The run folder: written cell by cell, safe against kill -9, a full disk and a second run.

`run.json` is written before the first cell, `cells.jsonl` grows by one flushed write for each condition,
the other files are made at the end, each whole or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnbench.errors import RecordError
from lnbench.files import append_whole, lock, one_line, reason, temporary, write_atomic
from lnbench.results import chain
from lnbench.results.bits import unpack
from lnbench.results.blocks import Blocks
from lnbench.results.correct import check_count, from_cells
from lnbench.results.marks import CSV, HTML, MARKDOWN, MARKS, is_own, refuse_strangers
from lnbench.results.reading import (
    CELLS,
    CORRECT,
    RESULTS,
    RUN,
    SHEET,
    document,
    dump,
    first_difference,
    load_json,
    parse,
    record_bytes,
    upgraded,
    validate,
)
from lnbench.results.render.delimited import to_csv
from lnbench.results.render.html import to_html
from lnbench.results.render.markdown import to_markdown
from lnbench.results.schema import Cell, Record, Rounds, Run
from lnbench.results.scores import summarize
from lnbench.results.unanswered import unanswered_note
from lnbench.results.until import with_sequences
from lnbench.types import Condition

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import ArrayLike

# Config keys that say where things lie, never what comes out: the checkpoint and the images are identified
# by their hashes, so a moved file is still the same run.
# A class map is identified by what came of it, the handling of EXIF by the images' fingerprint.
INERT = frozenset({"weights", "data", "preset_version", "shifts", "class_map", "classes_file", "exif"})

# What identifies the network.
MODEL = ("spec", "sha256", "code", "state", "classes", "groups", "precision")

# Parts of the identity that earlier records lack: a run without them goes on, and says so.
LATER = {
    "code": "finished cells are from before the model's code was recorded, and may be of other code",
    "state": "finished cells are from before the built weights were recorded, and may be of others",
}

LOCK = ".lnbench.lock"

Key = tuple[str, Condition]
Early = tuple[Sequence[Cell], Rounds]


class RunFolder:
    """One run's folder, locked while open. Use as a context manager, or call `close`."""

    def __init__(self, path: Path, run: Run, cells: dict[Key, Cell], last: str, held: ExitStack) -> None:
        self.path = path
        self.blocks = Blocks(path, run)
        self._last = last  # the hash after the last line of cells.jsonl
        self.run = run
        self._cells = cells
        self._held = held

    @classmethod
    def create_or_resume(cls, path: str | Path, run: Run, *, fresh: bool = False) -> RunFolder:
        """Open `path` for `run`: a new folder, or the same run's unfinished one.

        `fresh` removes what an earlier run wrote there. RecordError for another run's folder (naming the
        first difference), a folder in use, files of unknown origin, and a folder that cannot be written.
        """
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"cannot make the run folder {path}: {reason(error)}") from None
        held = _hold(path)
        try:
            refuse_strangers(path)
            if fresh:
                _remove_written(path)
            cells: dict[Key, Cell] = {}
            last = _first_link(run)
            if (path / RUN).exists():
                run, changed = continued(path, run)
                if changed:
                    write_atomic(path / RUN, document(dump(run)))
                cells, last = read_cells(path / CELLS, run)
            else:
                write_atomic(path / RUN, document(dump(run)))
            return cls(path, run, cells, last, held)
        except BaseException:
            held.close()
            raise

    def finished(self) -> frozenset[Key]:
        """The (mode, condition) pairs already done."""
        return frozenset(self._cells)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Finished cells in the suite's order."""
        return tuple(self._cells[key] for key in self.run.suite.keys if key in self._cells)

    def append(self, cells: Sequence[Cell]) -> None:
        """Add finished cells (all modes of one condition) in one flushed write: all of them or none.

        Each cell is one of the suite, not finished, with its bits: else ValueError. RecordError when the
        disk refuses, or bits and figures do not fit each other; what was finished before stays.
        """
        expected, new = set(self.run.suite.keys), {cell.key: cell for cell in cells}
        for cell in cells:
            if cell.key not in expected:
                raise ValueError(f"cell {cell.name} is not in this run's suite")
            if cell.key in self._cells or new[cell.key] is not cell:
                raise ValueError(f"cell {cell.name} is already finished")
            if cell.correct is None:
                raise ValueError(f"cell {cell.name} has no correctness bits")
            _check_bits(cell, cell.correct, str(self.path))
        self._check_images(cells)
        lines, last = [], self._last
        for cell in cells:
            line, last = chain.link(last, cell.model_dump_json(exclude_none=True))
            lines.append(line)
        append_whole(self.path / CELLS, b"".join(lines))
        self._cells.update(new)
        self._last = last

    def _check_images(self, cells: Sequence[Cell]) -> None:
        """RecordError where modes of one condition were counted on other images of it."""
        known = {cell.condition: cell.fingerprint for cell in self._cells.values() if cell.fingerprint}
        for cell in cells:
            if cell.fingerprint != known.get(cell.condition, cell.fingerprint):
                raise RecordError(
                    f"{self.path}: the images of {cell.condition} changed since other modes were counted on "
                    "them: give --fresh, or choose another --out"
                )

    def finish(
        self, *, labels: ArrayLike, ids: ArrayLike, sheet: bytes | None = None, early: Early | None = None
    ) -> Record:
        """Write `correct.npz`, `results.csv`, `report.md`, `report.html` and, last, `results.json`.

        `labels` and `ids`: int64 (N,) in store order; `sheet`: a PNG of the corruptions for the report.
        With cells missing (an interrupted run) the record says that it is not complete. `early`: the cells of
        a run in rounds on the images that it counted, and why no more; `labels` and `ids` are of those.
        """
        cells, rounds = early or (self.cells, None)
        record = make_record(self.run, cells, rounds)
        _have_room(self.path)
        correct = from_cells(cells, labels=labels, ids=ids)
        parts: dict[str, Callable[[], bytes]] = {
            CORRECT: correct.to_npz,
            CSV: lambda: to_csv([record]).encode("utf-8", "backslashreplace"),
            MARKDOWN: lambda: to_markdown([record]).encode("utf-8", "backslashreplace"),
            HTML: lambda: to_html([record], [correct], sheet=sheet).encode("utf-8", "backslashreplace"),
            RESULTS: lambda: record_bytes(record),
        }
        if sheet is not None and (not (self.path / SHEET).exists() or is_own(self.path / SHEET)):
            write_atomic(self.path / SHEET, sheet)
        for name, make in parts.items():
            write_atomic(self.path / name, make())
        if len(self._cells) == len(set(self.run.suite.keys)):
            self.blocks.remove()
        return record

    def close(self) -> None:
        """Release the folder."""
        self._held.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _have_room(folder: Path) -> None:
    """Let temporary files go into `folder` where no other place takes them: plots need some."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = str(folder)


def make_record(run: Run, cells: Sequence[Cell], rounds: Rounds | None = None) -> Record:
    """A run and its cells as a record with its summary; cells may carry bits.

    `rounds`: where the run ended early; its cells carry their bits, and the summary gets its sequences.
    """
    content = {name: getattr(run, name) for name in Run.model_fields}
    if (note := unanswered_note(cells)) is not None:
        content["deviations"] = tuple(dict.fromkeys((*run.deviations, note)))
    summary = summarize(cells, run)
    if rounds is not None:
        summary = with_sequences(summary, cells, run, rounds)
        early = f"{rounds.images} of {rounds.of} images, the first of the seeded order: {rounds.why}"
        content["deviations"] = (*content["deviations"], early)
    return Record.model_validate({**content, "cells": tuple(cells), "summary": summary, "rounds": rounds})


def identity(run: Run) -> dict[str, Any]:
    """What must be equal for a run to be continued: everything that decides the numbers."""
    content = dump(run)
    return {
        "data": {
            "fingerprint": run.data.fingerprint,
            "images": run.data.images,
            "class_map": content["data"].get("class_map"),
        },
        "shifts": {name: [each.fingerprint, each.beside] for name, each in run.shifts.items()},
        "model": {key: content["model"][key] for key in MODEL},
        # What a preset's version says stands in the suite itself.
        "suite": {key: value for key, value in content["suite"].items() if key != "version"},
        "config": {key: value for key, value in content["config"].items() if key not in INERT},
    }


def _hold(path: Path) -> ExitStack:
    """The folder's lock, until closed."""
    held = ExitStack()
    try:
        held.enter_context(lock(path / LOCK))
    except BlockingIOError:
        raise RecordError(
            f"{path} is in use by another lnbench run: wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise RecordError(f"cannot write in {path}: {reason(error)}") from None
    return held


def _remove_written(path: Path) -> None:
    try:
        for name in MARKS:
            if (path / name).exists() and is_own(path / name):
                (path / name).unlink()
            temporary(path / name).unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"cannot remove the earlier run in {path}: {reason(error)}") from None


def continued(path: Path, run: Run) -> tuple[Run, bool]:
    """The stored run, if `run` is the same, with another machine or version noted; whether that is new.

    RecordError where it is another run.
    """
    kept = validate(Run, upgraded(load_json(path / RUN)), str(path / RUN))
    stored, notes = _completed(kept, run)
    difference = first_difference(identity(stored), identity(run))
    if difference:
        raise RecordError(
            f"{path} holds another run ({difference}): {_batch_that_goes_on(stored, run)}"
            "choose another --out, or give --fresh"
        )
    moved = first_difference(dump(stored.environment), dump(run.environment))
    if moved is not None:
        notes.append(f"resumed in another environment: {moved}")
    deviations = tuple(dict.fromkeys([*stored.deviations, *notes]))
    stored = stored.model_copy(update={"deviations": deviations})
    return stored, stored != kept


def _batch_that_goes_on(stored: Run, run: Run) -> str:
    """What to give where the runs differ by their batch alone: it depends on the memory."""
    size = stored.config.get("batch_size")
    alike = run.model_copy(update={"config": {**run.config, "batch_size": size}})
    return "" if identity(alike) != identity(stored) else f"give --batch-size {size} to go on with it, "


def _completed(stored: Run, run: Run) -> tuple[Run, list[str]]:
    """The stored run with the parts of its identity that were not yet recorded, and what to say of that."""
    added = {
        name: value
        for name in LATER
        if getattr(stored.model, name) is None and (value := getattr(run.model, name)) is not None
    }
    model = stored.model.model_copy(update=added)
    return stored.model_copy(update={"model": model}), [LATER[name] for name in added]


def _first_link(run: Run) -> str:
    """Cells belong to one network on one set of images."""
    return chain.start(run.model.sha256, run.data.fingerprint)


def read_cells(file: Path, run: Run, *, repair: bool = True) -> tuple[dict[Key, Cell], str]:
    """Finished cells, and the hash after the last; a torn last line is left out, with `repair` cut off."""
    cells: dict[Key, Cell] = {}
    expected = set(run.suite.keys)

    def accept(text: bytes) -> None:
        cell = parse(Cell, text, "not a cell")
        if cell.key not in expected or cell.key in cells or cell.correct is None:
            raise RecordError(f"cell {one_line(cell.name, 80)} does not belong there")
        _check_bits(cell, cell.correct, "not whole")
        cells[cell.key] = cell

    return cells, chain.read_lines(file, _first_link(run), accept, repair=repair)


def _check_bits(cell: Cell, bits: str, where: str) -> None:
    check_count(cell, int(unpack(bits, cell.images).sum()), where)
