"""Which files are lnbench's own: only those are overwritten or removed, and never through a link."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from lnbench.errors import RecordError
from lnbench.files import one_line, read_bytes, reason, write_atomic
from lnbench.results.reading import BLOCKS, CELLS, CORRECT, RESULTS, RUN, SHEET, locate

CSV, MARKDOWN, HTML = "results.csv", "report.md", "report.html"
# A text in the sheet's PNG (keyword, text) that says who drew it.
SHEET_MARK = ("Software", "lnbench")
_HEAD = 4096  # bytes that tell


def _is_document(content: bytes) -> bool:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "schema" in found and "suite" in found


def _is_cells(content: bytes) -> bool:
    """Lines of cells, or what a power failure leaves of the first: nothing, or zeros."""
    return content.startswith(b'{"mode":') or not content[:_HEAD].strip(b"\0\n")


# What each file of a run folder begins with, or is.
MARKS: dict[str, Callable[[bytes], bool]] = {
    CELLS: _is_cells,
    BLOCKS: _is_cells,
    RESULTS: _is_document,
    CSV: lambda content: content.startswith(b"run,model,data,mode,corruption,severity,images,"),
    MARKDOWN: lambda content: content.startswith(b"# lnbench report"),
    HTML: lambda content: b'name="generator" content="lnbench"' in content[:_HEAD],
    CORRECT: lambda content: content.startswith(b"PK") and b"cells.npy" in content[:_HEAD],
    SHEET: lambda content: (
        content.startswith(b"\x89PNG") and "\0".join(SHEET_MARK).encode() in content[:_HEAD]
    ),
    RUN: _is_document,
}


def is_own(file: Path) -> bool:
    """Whether lnbench wrote this file of a run folder. RecordError where it cannot be read."""
    try:
        return stat.S_ISREG(file.lstat().st_mode) and MARKS[file.name](read_bytes(file))
    except OSError as error:
        raise RecordError(f"cannot read {one_line(file)}: {reason(error)}") from None


def refuse_strangers(folder: Path) -> None:
    """RecordError where a file or link under one of our names is not lnbench's."""
    there = [name for name in MARKS if (folder / name).is_symlink() or (folder / name).exists()]
    where = one_line(folder)
    if there and RUN not in there:
        raise RecordError(
            f"{where} holds {there[0]} but no {RUN}, so it is no run folder: choose another --out"
        )
    for name in there:
        # Sheets of earlier versions have no mark: they are left as they are.
        if not is_own(folder / name) and (name != SHEET or (folder / name).is_symlink()):
            raise RecordError(
                f"{where} holds a {name} that lnbench did not write: move it away, or choose another --out"
            )


def write_output(file: Path, content: bytes, inputs: Sequence[Path] = ()) -> None:
    """Write what a person asked for, whole or not at all.

    RecordError where that would destroy what cannot be made again: a run's own record, or one of `inputs`.
    """
    if file.name in (RUN, CELLS, BLOCKS, RESULTS, CORRECT) and (file.parent / RUN).exists():
        raise RecordError(f"{one_line(file)} is part of a run's record: write to another file")
    for one in inputs:
        if file.exists() and one.exists() and locate(one, unfinished=True).samefile(file):
            raise RecordError(f"{one_line(file)} is what is being read: write to another file")
    write_atomic(file, content)
