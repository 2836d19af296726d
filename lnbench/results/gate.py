"""Is one network worse than another? Told by as few images as the answer takes.

Image by image along the seeded order, the paired difference of clean accuracy and of the mean over
corruptions is followed in every mode by a confidence sequence (`sequences`). A figure is decided at the first
moment at which its interval lies below zero ("worse") or above minus the margin ("not worse by more").
Each figure gets its share of the 5 %, so that all answers hold together. They speak of this set of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lnbench.errors import RecordError
from lnbench.results import sequences
from lnbench.results.common import counted_images, in_common, seeded_order
from lnbench.results.compare import DEFAULT_FIGURES, TITLES, WEIGHTS
from lnbench.results.correct import Correct
from lnbench.results.pairing import Evidence, Pairs, find_evidence, find_mismatches, find_missing, pair
from lnbench.results.schema import Cell, Interval, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Outcome = Literal["worse", "within", "undecided"]
MARGIN = 0.005


@dataclass(frozen=True)
class Answer:
    """One figure of a mode: what is certain of its change after `seen` of `images` images.

    `difference`, on the images seen, and its interval, at that moment, are fractions.
    """

    mode: str
    figure: str
    outcome: Outcome
    seen: int
    images: int
    difference: float
    interval: Interval

    @property
    def what(self) -> str:
        return TITLES[self.figure]


@dataclass(frozen=True)
class Gate:
    """The answers of all figures, and what they rest on."""

    answers: tuple[Answer, ...]
    margin: float
    level: float
    missing: tuple[str, ...]
    mismatches: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing is known to be worse, and no cell is missing."""
        return not self.missing and all(answer.outcome != "worse" for answer in self.answers)

    @property
    def decided(self) -> bool:
        return all(answer.outcome != "undecided" for answer in self.answers)


def judge(
    base: Record,
    new: Record,
    old: Correct | None,
    now: Correct | None,
    margin: float = MARGIN,
    *,
    allow_mismatch: bool = False,
) -> Gate:
    """Follow every figure of both runs until it is decided, or the images that both counted end.

    `margin` is a fraction. RecordError where the runs do not pair image by image.
    """
    mismatches = find_mismatches(base, new)
    if mismatches and not allow_mismatch:
        raise RecordError(
            f"these runs cannot be compared: {'; '.join(mismatches)}; --allow-mismatch compares what pairs"
        )
    missing = find_missing(base, new)
    order, population = _in_order(base, new), base.data.images
    base, new, old, now = in_common(base, new, old, now)
    evidence = find_evidence(base, new, old, now)
    if evidence is None:
        other = base.data.fingerprint != new.data.fingerprint
        why = "the runs are on different images" if other else "correct.npz is not beside both records"
        raise RecordError(f"nothing is decided image by image: {why}")
    pairs = pair(base, new)
    figures = list(_figures(base.suite.modes, pairs))
    if not figures:
        raise RecordError("nothing is decided: no cell is in both runs")
    level = sequences.LEVEL / len(figures)
    answers = []
    for mode, figure, used in figures:
        if {cell.key for cell, _ in used} & evidence.apart or len({cell.images for cell, _ in used}) != 1:
            raise RecordError("nothing is decided image by image: conditions hold different images")
        differences = _differences(used, evidence)[order]
        outcome, seen, interval = decide(differences, population, margin, level)
        mean = float(differences[:seen].mean())
        answers.append(Answer(mode, figure, outcome, seen, population, mean, interval))
    gaps = () if mismatches else tuple(missing)
    return Gate(tuple(answers), margin, level, gaps, tuple(mismatches))


def decide(differences: Array, population: int, margin: float, level: float) -> tuple[Outcome, int, Interval]:
    """What is certain, after how many differences of a random order, and their interval then."""
    outcome, seen = outcome_of(differences, population, margin, level)
    return outcome, seen, sequences.difference_interval(differences[:seen], population, level)


def outcome_of(differences: Array, population: int, margin: float, level: float) -> tuple[Outcome, int]:
    """What is certain, and after how many differences of a random order.

    `differences`: float (t,) in −1 to 1, of `population` in all; `margin` a fraction. What is true of the
    whole set is certain once all of it is there.
    """
    values = (1 + differences) / 2
    passed, mean = sequences.refuting(level), (1 - margin) / 2
    worse = _first(1 - values, population, 0.5, passed)
    within = _first(values, population, mean, passed)
    count = len(values)
    outcome: Outcome = "undecided"
    if count == population <= min(worse, within):
        worse, within = (count + 1, count) if differences.mean() >= -margin - 1e-12 else (count, count + 1)
    if min(worse, within) <= count:
        outcome = "within" if within <= worse else "worse"
    return outcome, min(worse, within, count)


def _differences(used: Sequence[tuple[Cell, float]], evidence: Evidence) -> Array:
    import numpy as np

    found = np.zeros(used[0][0].images)
    for cell, weight in used:
        before, after = evidence.flags[cell.key]
        found += weight * (after.astype(np.int8) - before)
    return found


def _first(values: Array, population: int, mean: float, passed: float) -> int:
    """How many values it takes to refute that mean as too small; more than there are where they do not."""
    import numpy as np

    looks = np.flatnonzero(sequences.log_capital(values, population, mean) >= passed)
    return min((int(looks[0]) + 1) * sequences.LOOK, len(values)) if len(looks) else len(values) + 1


def _in_order(base: Record, new: Record) -> NDArray[np.int64]:
    """The places, among the images that both runs counted, in the order of the base's seed."""
    import numpy as np

    both = np.intersect1d(counted_images(base), counted_images(new))
    order = seeded_order(base)
    return np.searchsorted(both, order[np.isin(order, both)])


def _figures(modes: Sequence[str], pairs: Pairs) -> list[tuple[str, str, list[tuple[Cell, float]]]]:
    """Mode, figure, and the base's cells with their weights."""
    found = []
    for mode in modes:
        cells = [old for (name, _), (old, _) in pairs.items() if name == mode]
        for figure in DEFAULT_FIGURES:
            weights = WEIGHTS[figure](cells) if cells else []
            used = [(cell, weight) for cell, weight in zip(cells, weights, strict=True) if weight]
            if used:
                found.append((mode, figure, used))
    return found
