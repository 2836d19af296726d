"""What a run is going to do, said before it does it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lnbench.evaluate.prepare import Images, Subject
from lnbench.types import Condition


@dataclass(frozen=True)
class Plan:
    """What a run will do: sizes known before the first condition."""

    subjects: tuple[str, ...]
    conditions: int
    conditions_left: int
    cells: int
    cells_left: int
    images: int
    forwards: int
    store_bytes: int
    store_place: str  # device, host or file


def plan(
    subjects: Sequence[Subject],
    images: Images,
    finished: Sequence[Collection[tuple[str, Condition]]] = (),
) -> Plan:
    """Count what there is to do; `finished` cells of each subject are left out."""
    conditions = images.conditions
    left = [
        (condition, subject, mode)
        for subject, done in zip(subjects, finished or [()] * len(subjects), strict=True)
        for condition in conditions
        for mode in subject.modes
        if (str(mode), condition) not in done
    ]
    passes = sum(
        images.count(condition) * mode.passes(subject.layers.groups) + mode.images
        for condition, subject, mode in left
    )
    return Plan(
        subjects=tuple(subject.name for subject in subjects),
        conditions=len(conditions),
        conditions_left=len({condition for condition, _, _ in left}),
        cells=len(conditions) * sum(len(subject.modes) for subject in subjects),
        cells_left=len(left),
        images=len(images.clean.labels),
        forwards=passes,
        store_bytes=images.clean.images.nbytes,
        store_place=images.clean.place,
    )
