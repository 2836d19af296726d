"""Two runs against each other: pair their cells, test the differences on the same images, decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from lnbench.errors import RecordError, UsageError
from lnbench.metrics import METRICS
from lnbench.results.common import in_common
from lnbench.results.correct import Correct
from lnbench.results.draws import p_value, share_sums, standard_error, widened
from lnbench.results.pairing import Evidence, Pairs, find_evidence, find_mismatches, find_missing, pair
from lnbench.results.power import Churn, churn
from lnbench.results.rules import HEADLINES, Rule, sign, unit
from lnbench.results.schema import Cell, Interval, Record
from lnbench.results.scores import (
    mce_weights,
    mean_weights,
    relative_mce_weights,
    weighted_error,
)
from lnbench.results.significance import holm, mcnemar, mcnemar_interval, mean_interval, sign_flip
from lnbench.types import CLEAN_NAME, Condition

Verdict = Literal["worse", "better", "same"]

ALPHA = 0.05
TITLES = {
    "clean_top1": "clean",
    "mean_corruption_top1": "mean",
    "mce": "mCE",
    "relative_mce": "relative mCE",
}
DEFAULT_FIGURES = ("clean_top1", "mean_corruption_top1")

# Each headline figure as Σ weight · top1 over a mode's cells, plus a constant that cancels in a change.
WEIGHTS: dict[str, Callable[[Sequence[Cell]], list[float]]] = {
    "clean_top1": lambda cells: [1.0 if c.corruption == CLEAN_NAME else 0.0 for c in cells],
    "mean_corruption_top1": mean_weights,
    "mce": lambda cells: [-w for w in mce_weights(cells)],
    "relative_mce": lambda cells: [-w for w in relative_mce_weights(cells)],
}


@dataclass(frozen=True)
class Change:
    """One figure in both runs. Fractions; `condition` is None for a headline figure.

    `interval` (95 %, paired) and `p` are None where no paired test is possible; `adjusted` is Holm's p
    over all cells, or over all headline figures. The verdict is that of the test at the significance
    asked for; without a test, of the plain difference. Of a tested headline figure `churn` says how the runs
    differ whatever the loss, and `level` at which p it counts, were it the only one of its family.
    """

    mode: str
    condition: Condition | None
    figure: str
    base: float
    new: float
    interval: Interval | None = None
    p: float | None = None
    adjusted: float | None = None
    verdict: Verdict = "same"
    churn: Churn | None = None
    level: float | None = None

    @property
    def difference(self) -> float:
        return self.new - self.base

    @property
    def gain(self) -> float:
        """The difference in the good direction."""
        return sign(self.figure) * self.difference

    @property
    def detectable(self) -> float | None:
        """The smallest loss that would have been found with 80 % power; None without a test."""
        return None if self.churn is None or self.level is None else self.churn.smallest(self.level)

    @property
    def name(self) -> str:
        return f"{self.mode}/{self.condition or self.figure}"

    @property
    def what(self) -> str:
        """The condition, or the headline figure as tables call it."""
        return str(self.condition or TITLES[self.figure])


@dataclass(frozen=True)
class Failure:
    """Why the comparison fails: which rule, where, in one line."""

    rule: str
    where: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """What changed between two runs and whether that is acceptable."""

    base: Record
    new: Record
    cells: tuple[Change, ...]
    headlines: tuple[Change, ...]
    missing: tuple[str, ...]  # cells one run has and the other lacks
    mismatches: tuple[str, ...]  # how the runs differ, when --allow-mismatch let that pass
    failures: tuple[Failure, ...]
    rules: tuple[str, ...]  # what was asked for, in words
    significance: float
    tested: bool  # whether a paired test was possible
    seeds: int = 1  # how many pairs of runs the figures are means of

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Which of the runs goes on, in words: only what both have by now was compared."""
        named = (("the first run", self.base), ("the second run", self.new))
        return tuple(f"{name} is {run.standing}" for name, run in named if run.unfinished)

    @property
    def passed(self) -> bool:
        """Nothing failed, and nothing is left to fail: an unfinished run never passes."""
        return not self.failures and not self.unfinished

    def count(self, verdict: Verdict) -> int:
        """How many cells got this verdict."""
        return sum(change.verdict == verdict for change in self.cells)


def compare(
    base: Record,
    new: Record,
    base_correct: Correct | None = None,
    new_correct: Correct | None = None,
    *,
    rules: Sequence[Rule] = (),
    significance: float | None = None,
    allow_mismatch: bool = False,
) -> Comparison:
    """Compare `new` with `base`, paired image by image.

    Rules alone fail on size; `significance` with rules fails only where the loss is also significant;
    without rules, a significant loss of clean or mean corruption top-1 in any mode fails. A missing cell
    fails, and so does comparing nothing. RecordError where the runs cannot be compared.
    """
    level = level_of(significance, rules)
    mismatches = find_mismatches(base, new)
    if mismatches and not allow_mismatch:
        raise RecordError(
            f"these runs cannot be compared: {'; '.join(mismatches)}; --allow-mismatch compares what pairs"
        )
    base, new, base_correct, new_correct = in_common(base, new, base_correct, new_correct)
    evidence = find_evidence(base, new, base_correct, new_correct)
    needs_test = significance is not None or not rules
    if needs_test and evidence is None:
        other = base.data.fingerprint != new.data.fingerprint
        why = "the runs are on different images" if other else "correct.npz is not beside both records"
        raise RecordError(f"no paired test is possible, {why}; give --fail-if alone to compare sizes")
    if (base.unfinished or new.unfinished) and not pair(base, new):
        raise RecordError("these runs have no finished cell in common yet")
    found = _decide(base, new, evidence, rules, level, needs_test, mismatches)
    if needs_test and any(change.p is None for change in found.headlines):
        raise RecordError(
            "no paired test is possible: conditions hold different images; give --fail-if alone"
        )
    return found


def level_of(significance: float | None, rules: Sequence[Rule]) -> float:
    """The level of the tests asked for. UsageError where there is none, or no test of a rule's figure."""
    level = ALPHA if significance is None else significance
    if not 0 < level < 1:
        raise UsageError(f"--significance {level:g}: give a probability between 0 and 1")
    for rule in rules if significance is not None else ():
        if rule.figure not in ("top1", *HEADLINES):
            raise UsageError(f"--fail-if '{rule.text}': --significance has a test for accuracy and mCE only")
    return level


def _decide(
    base: Record,
    new: Record,
    evidence: Evidence | None,
    rules: Sequence[Rule],
    level: float,
    needs_test: bool,
    mismatches: list[str],
) -> Comparison:
    changes = changes_of(base, new, evidence)
    return decide(base, new, changes, rules, level, needs_test, mismatches, find_missing(base, new))


class Changes(NamedTuple):
    """What changed between two runs: top-1 of each cell, headline figures, every other score of a cell."""

    cells: list[Change]
    headlines: list[Change]
    scores: list[Change]


def changes_of(base: Record, new: Record, evidence: Evidence | None) -> Changes:
    """Every change, not judged yet; tested where there is evidence."""
    pairs = pair(base, new)
    headlines = _headline_changes(base, new, pairs, evidence)
    return Changes(_cell_changes(pairs, evidence), headlines, _score_changes(pairs))


def decide(
    base: Record,
    new: Record,
    changes: Changes,
    rules: Sequence[Rule],
    level: float,
    needs_test: bool,
    mismatches: Sequence[str],
    missing: Sequence[str],
    seeds: int = 1,
) -> Comparison:
    """The verdict on changes: what failed, by rules or, without any, by a significant loss."""
    cells, headlines = _judged(changes.cells, level), _judged(changes.headlines, level)
    tested = any(change.p is not None for change in cells)
    failures = [] if mismatches else [Failure("every cell", name, f"{name} is missing") for name in missing]
    if not cells:
        failures.append(Failure("something to compare", "", "nothing was compared: no cell is in both runs"))
    if rules:
        for rule in rules:
            found = _apply(rule, [*cells, *changes.scores, *headlines], level if needs_test else None)
            # What a rule speaks of may be yet to come.
            failures += [one for one in found if one.where or not (base.unfinished or new.unfinished)]
        asked = [rule.text for rule in rules]
        if needs_test:
            asked = [f"{text}, where significant at {level:g}" for text in asked]
    else:
        asked = [f"a significant loss ({level:g}, Holm) of clean or mean corruption top-1"]
        failures += [
            Failure(asked[0], change.name, describe(change))
            for change in headlines
            if change.figure in DEFAULT_FIGURES and change.verdict == "worse"
        ]
    return Comparison(
        base, new, tuple(cells), tuple(headlines), tuple(missing), tuple(mismatches), tuple(failures),
        tuple(asked), level, tested, seeds,
    )  # fmt: skip


def _cell_changes(pairs: Pairs, evidence: Evidence | None) -> list[Change]:
    """The change of top-1 in each paired cell."""
    changes = []
    for (mode, condition), (old, now) in pairs.items():
        change = Change(mode, condition, "top1", old.top1, now.top1)
        if evidence is not None:
            change = _tested(change, [old], [1.0], evidence)
        changes.append(change)
    return changes


def _score_changes(pairs: Pairs) -> list[Change]:
    """Every score of every paired cell but top-1, for the rules."""
    changes = []
    for (mode, condition), (old, now) in pairs.items():
        for figure in METRICS:
            before, after = old.scores.get(figure), now.scores.get(figure)
            if figure == "top1" or before is None:
                continue
            if after is None:  # a score that stopped being a number is as bad as it gets
                after = -sign(figure) * float("inf")
            changes.append(Change(mode, condition, figure, before, after))
    return changes


def _headline_changes(base: Record, new: Record, pairs: Pairs, evidence: Evidence | None) -> list[Change]:
    """The change of each headline figure, made anew from the paired cells alone."""
    changes = []
    for mode in base.suite.modes:
        both = [pair for (name, _), pair in pairs.items() if name == mode]
        if not both or mode not in new.summary:
            continue
        old, now = [pair[0] for pair in both], [pair[1] for pair in both]
        for figure, weigh in WEIGHTS.items():
            if figure not in DEFAULT_FIGURES and (
                getattr(base.summary[mode], figure) is None or getattr(new.summary[mode], figure) is None
            ):
                continue
            weights = weigh(old)
            if any(weights):
                change = Change(
                    mode, None, figure, _figure(figure, old, weights), _figure(figure, now, weights)
                )
                changes.append(_tested(change, old, weights, evidence))
    return changes


def _figure(figure: str, cells: Sequence[Cell], weights: Sequence[float]) -> float:
    error = weighted_error(cells, weights)
    return -error if figure in ("mce", "relative_mce") else 1 - error


def _tested(
    change: Change, cells: Sequence[Cell], weights: Sequence[float], evidence: Evidence | None
) -> Change:
    """A change with its paired test over images, and over draws where there are several."""
    used = [(cell, weight) for cell, weight in zip(cells, weights, strict=True) if weight]
    if evidence is None or len({cell.images for cell, _ in used}) != 1:
        return change
    if any(cell.key in evidence.apart for cell, _ in used):
        return change
    import numpy as np

    differences = np.zeros(used[0][0].images)  # (N,)
    for cell, weight in used:
        before, after = evidence.flags[cell.key]
        differences += weight * (after.astype(np.int8) - before)
    if change.figure in ("top1", "clean_top1"):
        lost, gained = int((differences < 0).sum()), int((differences > 0).sum())
        p, interval = mcnemar(lost, gained), mcnemar_interval(lost, gained, len(differences))
    else:
        p, interval = sign_flip(differences), mean_interval(differences)
    draws = min(cell.drawn for cell, _ in used)
    if draws > 1:
        # The test of the shares is rough where few images changed: a loss must pass both.
        mean = float(differences.mean())
        error = standard_error(share_sums(differences, draws), len(differences))
        p, interval = max(p, p_value(mean, error, draws)), widened(interval, mean, error, draws)
    differing = churn(differences, draws) if change.condition is None else None
    return replace(change, p=p, interval=interval, churn=differing)


def _judged(changes: list[Change], level: float) -> list[Change]:
    """Changes with Holm-adjusted p-values and verdicts; headline figures that restate others stand apart."""
    families: dict[str, list[int]] = {}
    for index, change in enumerate(changes):
        family = "plain" if change.figure in ("top1", *DEFAULT_FIGURES) else change.figure
        families.setdefault(family, []).append(index)
    judged = list(changes)
    for members in families.values():
        tested = [(index, p) for index in members if (p := changes[index].p) is not None]
        adjusted = dict(zip([i for i, _ in tested], holm([p for _, p in tested]), strict=True))
        for index in members:
            value = adjusted.get(index)
            clear = value is None or value < level
            verdict = _direction(changes[index]) if clear else "same"
            strict = level / len(tested) if tested else None
            judged[index] = replace(changes[index], adjusted=value, verdict=verdict, level=strict)
    return judged


def _direction(change: Change) -> Verdict:
    return "same" if abs(change.gain) < 1e-12 else ("better" if change.gain > 0 else "worse")


def _apply(rule: Rule, changes: Sequence[Change], level: float | None) -> list[Failure]:
    """The failures of one rule; a rule that speaks of nothing fails too."""
    spoken = [c for c in changes if c.figure == rule.figure and rule.covers(c.mode, c.condition)]
    if not spoken:
        return [Failure(rule.text, "", f"'{rule.text}' matches nothing that both runs have")]
    return [
        Failure(rule.text, change.name, describe(change))
        for change in spoken
        if rule.broken(change.base, change.new)
        and (level is None or (change.adjusted is not None and change.adjusted < level))
    ]


def describe(change: Change) -> str:
    """One line for people: 'fixed/fog/3: top1 45.10 → 44.00 (-1.10 points, p 0.003)'."""
    of = unit(change.figure)
    scale, digits, name = (100, 2, "points") if of == "%" else (1, 3, of)
    base, new = (f"{scale * v:.{digits}f}" for v in (change.base, change.new))
    p = "" if change.adjusted is None else f", p {change.adjusted:.2g}"
    where = f"{change.mode}: {change.what}" if change.condition is None else f"{change.name}: {change.figure}"
    return f"{where} {base} → {new} ({f'{scale * change.difference:+.{digits}f} {name}'.rstrip()}{p})"
