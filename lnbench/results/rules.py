"""The grammar of --fail-if: `[SCOPE:]FIGURE:CHANGE`, such as `fixed/gaussian_noise/*: top1:-1pp`.

SCOPE is `mode`, `mode/corruption` or `mode/corruption/severity`, each part a pattern with * and ?; left
out, it means everything. FIGURE is a score of a cell or a headline figure of a mode. CHANGE is a signed
number in the bad direction with a unit: `pp` (points), `%` (of the baseline's value), or none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lnbench.errors import UsageError, unknown
from lnbench.types import Condition

# Figure → whether more is better.
CELL_FIGURES = {"top1": True, "top5": True, "nll": False, "ece": False}
HEADLINES = {"clean_top1": True, "mean_corruption_top1": True, "mce": False, "relative_mce": False}
FIGURES = CELL_FIGURES | HEADLINES
UNITLESS = frozenset({"nll"})  # nats; every other figure is a fraction, so a change needs a unit

CHANGE = re.compile(r"([+-])(\d+(?:\.\d*)?|\.\d+)\s*(pp|%|)")
ROUNDING = 1e-9  # a loss of exactly the limit is within it, whatever the last bit says


@dataclass(frozen=True)
class Rule:
    """One condition that fails the comparison: `figure` changed for the worse by more than `limit`.

    `limit` is positive, in the figure's own unit (0.005 for 0.5pp), or a share of the baseline's value
    where `relative`.
    """

    text: str
    scope: str
    figure: str
    limit: float
    relative: bool

    @property
    def about_cells(self) -> bool:
        return self.figure in CELL_FIGURES

    def covers(self, mode: str, condition: Condition | None) -> bool:
        """Whether the rule speaks of this cell, or (condition None) of this mode's headline figures."""
        if (condition is not None) != self.about_cells:
            return False
        parts = self.scope.split("/") if self.scope else []
        names = [mode]
        if condition is not None:
            names += [condition.corruption, f"{condition.severity:g}"]
        return all(fnmatchcase(name, part) for name, part in zip(names, parts, strict=False))

    def broken(self, base: float, new: float) -> bool:
        """Whether the change from `base` to `new` is worse than the rule allows."""
        loss = base - new if FIGURES[self.figure] else new - base
        return loss > (self.limit * abs(base) if self.relative else self.limit) + ROUNDING


def parse(text: str) -> Rule:
    """Read one --fail-if. UsageError in one line where it does not make sense."""
    # From the right: modes hold colons too ('adapt:n=32/fog/3: top1:-1pp').
    parts = [part.strip() for part in text.rsplit(":", 2)]
    if len(parts) < 2:
        raise UsageError(f"--fail-if '{text}': write FIGURE:CHANGE, such as top1:-0.5pp")
    change, figure, scope = parts[-1], parts[-2], parts[0] if len(parts) == 3 else ""
    if figure not in FIGURES:
        raise unknown("figure in --fail-if", figure, FIGURES)
    match = CHANGE.fullmatch(change)
    if match is None:
        raise UsageError(f"--fail-if '{text}': '{change}' is no change; write -0.5pp, +1% or +0.02")
    sign, number, unit = match.groups()
    if (sign == "-") != FIGURES[figure]:
        worse = "-" if FIGURES[figure] else "+"
        raise UsageError(f"--fail-if '{text}': {figure} gets worse with {worse}, write {worse}{number}{unit}")
    if unit == "pp" and figure in UNITLESS:
        raise UsageError(
            f"--fail-if '{text}': {figure} is not a rate; write {sign}{number} or {sign}{number}%"
        )
    if unit == "" and figure not in UNITLESS:
        raise UsageError(f"--fail-if '{text}': say pp (points) or % (of the baseline)")
    _check_scope(text, figure, scope)
    limit = float(number) / (100 if unit else 1)
    return Rule(text.strip(), scope, figure, limit, unit == "%")


def _check_scope(text: str, figure: str, scope: str) -> None:
    parts = scope.split("/") if scope else []
    most = 3 if figure in CELL_FIGURES else 1
    if len(parts) > most or any(not part for part in parts):
        shape = "mode/corruption/severity" if most == 3 else "mode"
        raise UsageError(f"--fail-if '{text}': the scope of {figure} is {shape}, not '{scope}'")
