"""A set of runs in any of the formats: what `lnbench report` calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lnbench.errors import UsageError, unknown
from lnbench.files import read_bytes
from lnbench.results.correct import Correct, read_correct
from lnbench.results.marks import write_output
from lnbench.results.pivot import View
from lnbench.results.ranking import distinct
from lnbench.results.reading import RESULTS, RUN, SHEET, read
from lnbench.results.schema import Record


@dataclass(frozen=True)
class Runs:
    """Runs to be shown together. `labels` is empty for a single run.

    `view`: what the tables of txt, md and tex show; html, csv and json hold every metric and severity.
    `left_out`: unfinished runs of a folder of runs.
    """

    records: tuple[Record, ...]
    labels: tuple[str, ...]
    correct: tuple[Correct | None, ...]
    sheet: bytes | None
    view: View = field(default_factory=View)
    left_out: tuple[Path, ...] = ()


def load(paths: Sequence[Path], view: View = View()) -> Runs:
    """Read runs with their evidence, and the contact sheet of the first that has one.

    A folder that is no run stands for the runs in it. Raises UsageError, RecordError.
    """
    if not paths:
        raise UsageError("give at least one run")
    paths, left_out = _expanded(paths)
    records = tuple(read(path, unfinished=True) for path in paths)
    correct = tuple(read_correct(path, record) for path, record in zip(paths, records, strict=True))
    labels = distinct(_unshared(paths)) if len(paths) > 1 else ()
    return Runs(records, labels, correct, _sheet(paths), view, left_out)


def _expanded(paths: Sequence[Path]) -> tuple[list[Path], tuple[Path, ...]]:
    """Run folders in place of the folders that hold them; and those among them that are not finished."""
    found: list[Path] = []
    left_out: list[Path] = []
    for path in paths:
        is_run = not path.is_dir() or (path / RESULTS).exists() or (path / RUN).exists()
        inside = [] if is_run else sorted(each.parent for each in path.glob(f"*/{RUN}"))
        finished = [each for each in inside if (each / RESULTS).exists()]
        found += finished or [path]
        left_out += [each for each in inside if each not in finished] if finished else []
    return found, tuple(left_out)


def _unshared(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders that all of them begin with."""
    try:
        shared = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # some are absolute, some are not
        return [str(path) for path in paths]
    return [os.path.relpath(path, shared) for path in paths]


def _sheet(paths: Sequence[Path]) -> bytes | None:
    for path in paths:
        file = (path if path.is_dir() else path.parent) / SHEET
        if file.is_file() and not file.is_symlink():  # a link would have any file put into the page
            return read_bytes(file, most=1 << 26)
    return None


def _html(runs: Runs) -> str:
    from lnbench.results.render.html import to_html

    return to_html(runs.records, runs.correct, labels=runs.labels, sheet=runs.sheet)


def _markdown(runs: Runs) -> str:
    from lnbench.results.render.markdown import to_markdown

    return to_markdown(runs.records, runs.labels, runs.view)


def _latex(runs: Runs) -> str:
    from lnbench.results.render.latex import to_latex

    return to_latex(runs.records, runs.labels, runs.view)


def _csv(runs: Runs) -> str:
    from lnbench.results.render.delimited import to_csv

    return to_csv(runs.records, runs.labels)


def _json(runs: Runs) -> str:
    from lnbench.results.render.delimited import to_json

    return to_json(runs.records, runs.labels)


def _text(runs: Runs) -> str:
    from lnbench.results.render.terminal import to_text

    return to_text(runs.records, runs.labels, runs.view)


FORMATS: dict[str, Callable[[Runs], str]] = {
    "html": _html,
    "md": _markdown,
    "tex": _latex,
    "csv": _csv,
    "json": _json,
    "txt": _text,
}


def renderer(name: str, where: str) -> Callable[[Runs], str]:
    """The renderer of a format. UsageError with the known ones where there is none."""
    if name.lower() not in FORMATS:
        raise unknown(f"format in {where}", name, FORMATS)
    return FORMATS[name.lower()]


def write(runs: Runs, file: Path, inputs: Sequence[Path]) -> None:
    """Write `file`, none of the `inputs`, in the format its suffix names. RecordError."""
    write_output(
        file, renderer(file.suffix.lstrip("."), str(file))(runs).encode("utf-8", "backslashreplace"), inputs
    )
