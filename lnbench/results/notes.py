"""Sentences added to a run's record after it began: what happened on the way."""

from __future__ import annotations

from lnbench.files import write_atomic
from lnbench.results.reading import RUN, document, dump
from lnbench.results.store import RunFolder
from lnbench.results.unsaved import Unsaved


def add_note(folder: RunFolder | Unsaved, text: str) -> None:
    """Add a deviation to an open run, once. RecordError when it cannot be written."""
    if text in folder.run.deviations:
        return
    folder.run = folder.run.model_copy(update={"deviations": (*folder.run.deviations, text)})
    if folder.path is not None:
        write_atomic(folder.path / RUN, document(dump(folder.run)))
