"""Results that make one doubt the set-up: a network that guesses, outputs that are not numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lnbench.evaluate import count
from lnbench.evaluate.prepare import Subject
from lnbench.results.significance import at_least
from lnbench.types import Condition

# A network that guesses gets a warning 99 times of 100; one that knows something, hardly ever.
_GUESSING = 0.01


def of(
    condition: Condition, results: Sequence[tuple[Subject, list[count.Result]]], told: set[str]
) -> Iterator[str]:
    """What to say of a condition's results; `told`: the subjects whose outputs were spoken of already."""
    yield from _chance_warnings(condition, results)
    yield from _unanswered(condition, results, told)


def _unanswered(
    condition: Condition, results: Sequence[tuple[Subject, list[count.Result]]], told: set[str]
) -> Iterator[str]:
    """A word on the first condition in which a network's outputs are not numbers; the record has them all."""
    for subject, cells in results:
        worst = max(cells, key=lambda cell: cell.scores.unanswered)
        if worst.scores.unanswered and subject.name not in told:
            told.add(subject.name)
            yield (
                f"{subject.name}: {worst.scores.unanswered} of {worst.scores.images} images got outputs that "
                f"are not numbers under {worst.mode}/{condition}: counted as wrong, without NLL and ECE"
            )


def _chance_warnings(
    condition: Condition, results: Sequence[tuple[Subject, list[count.Result]]]
) -> Iterator[str]:
    """A network that guesses on clean images deserves a word before the other conditions are spent on it."""
    if not condition.is_clean:
        return
    for subject, cells in results:
        answering = subject.classes if subject.class_map is None else len(subject.class_map.columns)
        best = max(cells, key=lambda cell: int(cell.correct.sum()))
        right, images, chance = int(best.correct.sum()), len(best.correct), 1 / max(2, answering)
        p = at_least(right, images, chance)
        if p > _GUESSING:
            yield (
                f"{subject.name}: clean accuracy is {right / images:.1%} at best, chance is {chance:.1%} "
                f"(guessing does as well with p = {p:.2g}): "
                "are weights, preprocessing and class order those of its training?"
            )
