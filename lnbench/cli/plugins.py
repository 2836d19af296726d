"""`--plugin FILE.py`: a person's own corruptions, modes, metrics and data, before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(files: Sequence[Path] | None) -> None:
    """Run each file once; its decorators register what it holds. Raises ModelError naming file and line.

    This is the person's own code, with all that code may do.
    """
    if not files:
        return
    from lnbench.models.factory import load_module

    for file in dict.fromkeys(files):
        load_module(file)
