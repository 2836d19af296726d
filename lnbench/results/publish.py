"""A set of runs in any of the formats: what `lnbench report` calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lnbench.errors import UsageError, unknown
from lnbench.files import read_bytes
from lnbench.results.correct import Correct, read_correct
from lnbench.results.marks import write_output
from lnbench.results.ranking import distinct
from lnbench.results.reading import SHEET, read
from lnbench.results.schema import Record


@dataclass(frozen=True)
class Runs:
    """Runs to be shown together. `labels` is empty for a single run."""

    records: tuple[Record, ...]
    labels: tuple[str, ...]
    correct: tuple[Correct | None, ...]
    sheet: bytes | None


def load(paths: Sequence[Path]) -> Runs:
    """Read runs with their evidence, and the contact sheet of the first that has one."""
    if not paths:
        raise UsageError("give at least one run")
    records = tuple(read(path) for path in paths)
    correct = tuple(read_correct(path, record) for path, record in zip(paths, records, strict=True))
    labels = distinct(_unshared(paths)) if len(paths) > 1 else ()
    return Runs(records, labels, correct, _sheet(paths))


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

    return to_markdown(runs.records, runs.labels)


def _latex(runs: Runs) -> str:
    from lnbench.results.render.latex import to_latex

    return to_latex(runs.records, runs.labels)


def _csv(runs: Runs) -> str:
    from lnbench.results.render.delimited import to_csv

    return to_csv(runs.records, runs.labels)


def _json(runs: Runs) -> str:
    from lnbench.results.render.delimited import to_json

    return to_json(runs.records, runs.labels)


def _text(runs: Runs) -> str:
    from lnbench.results.render.terminal import to_text

    return to_text(runs.records, runs.labels)


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
    write_output(file, renderer(file.suffix.lstrip("."), str(file))(runs).encode("utf-8"), inputs)
