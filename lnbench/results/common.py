"""The images that two runs have in common, where one of them ended before it had counted all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.errors import RecordError
from lnbench.hashing import SHUFFLE, Indices
from lnbench.results.bits import pack
from lnbench.results.correct import Correct
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.scores import summarize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def seeded_order(record: Record | Run) -> Indices:
    """The positions of the record's images, in store order, as its seed shuffles them: int64 (N,)."""
    from lnbench.hashing import order

    return order(record.data.images, record.suite.seed, SHUFFLE)


def counted_images(record: Record) -> Indices:
    """The positions, ascending, of the images that the record's cells count: int64 (n,)."""
    import numpy as np

    if record.rounds is None:
        return np.arange(record.data.images, dtype=np.int64)
    return np.sort(seeded_order(record)[: record.rounds.images])


def in_common(
    base: Record, new: Record, old: Correct | None, now: Correct | None
) -> tuple[Record, Record, Correct | None, Correct | None]:
    """Both runs as they would be on the images that both counted: top-1 alone, and what is made of it.

    As they are where neither ended early. RecordError where there is no telling, or no image in common.
    """
    if (base.rounds is None and new.rounds is None) or base.data.fingerprint != new.data.fingerprint:
        return base, new, old, now
    if old is None or now is None:
        raise RecordError("a run ended early, and correct.npz is not beside both records: nothing to compare")
    import numpy as np

    first, second = counted_images(base), counted_images(new)
    both = np.intersect1d(first, second)
    if not len(both):
        raise RecordError("these runs have no image in common: they ended early, under different seeds")
    one, other = _only(base, old, np.isin(first, both)), _only(new, now, np.isin(second, both))
    return one[0], other[0], one[1], other[1]


def _only(record: Record, correct: Correct, kept: NDArray[np.bool_]) -> tuple[Record, Correct]:
    """A run on some of its images; `kept` is bool over those it counted."""
    flags = {key: own[kept] for key, own in correct.flags.items() if len(own) == len(kept)}
    cells = tuple(restricted(cell, flags[cell.key]) for cell in record.cells if cell.key in flags)
    content = {name: getattr(record, name) for name in Record.model_fields}
    summary = summarize(cells, record.run)
    return Record.model_validate({**content, "cells": cells, "summary": summary}), Correct(flags)


def restricted(cell: Cell, flags: NDArray[np.bool_]) -> Cell:
    """The cell on some of its images, top-1 alone; `flags`: bool (n,), which of them are right."""
    right, images = int(flags.sum()), len(flags)
    draws = ((images, right),) if cell.drawn == 1 else None
    return cell.model_copy(
        update={
            "images": images,
            "scores": {"top1": right / images},
            "correct": pack(flags),
            "draws": draws,
            "bins": None,
            "course": None,
        }
    )
