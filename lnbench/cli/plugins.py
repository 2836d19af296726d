"""`--plugin FILE.py`: a person's own corruptions, modes, metrics and data, before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lnbench.files import one_line


def run(files: Sequence[Path] | None) -> str | None:
    """Run each file once; its decorators register what it holds. Raises ModelError naming file and line.

    This is the person's own code, with all that code may do. Returns the files' names with their digests, for
    the record: a run is not gone on with under changed code.
    """
    if not files:
        return None
    from lnbench.models.code import code_digest
    from lnbench.models.factory import load_module

    found = []
    for file in dict.fromkeys(files):
        load_module(file)
        found.append(f"{one_line(file.name)} (sha256 {code_digest(file)[:16]})")
    return ", ".join(found)
