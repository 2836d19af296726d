"""What a run would do, asked without beginning it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lnbench.dist import ALONE
from lnbench.evaluate import record, rounds
from lnbench.evaluate.evaluation import Prepared
from lnbench.evaluate.plan import Plan, plan
from lnbench.results.unsaved import peek


def foretell(
    prepared: Prepared,
    folders: Sequence[Path],
    *,
    fresh: bool = False,
    processes: int = 1,
    asked: rounds.Asked | None = None,
) -> Plan:
    """The plan of what `evaluation.evaluate` would still compute into these folders, which stay as they are.

    `processes`: how many would share it. Raises what `evaluate` would before its first pass.
    """
    subjects, images = prepared.subjects, prepared.images
    found = [
        peek(folder, record.run(subject, images, "", processes), fresh=fresh)
        for subject, folder in zip(subjects, folders, strict=True)
    ]
    course = rounds.begin(subjects, images, found, asked, ALONE)
    return plan(
        subjects, images, [one.finished() for one in found], footprints=prepared.footprints,
        processes=processes, begun=None if course is None else course.begun,
        may_end=course is not None and course.may_end,
    )  # fmt: skip
