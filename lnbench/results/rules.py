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
from lnbench.metrics import METRICS, Better
from lnbench.types import Condition

HEADLINES: dict[str, Better] = {
    "clean_top1": "higher",
    "mean_corruption_top1": "higher",
    "mce": "lower",
    "relative_mce": "lower",
}

CHANGE = re.compile(r"([+-])(\d+(?:\.\d*)?|\.\d+)\s*(pp|%|)")
ROUNDING = 1e-9  # a loss of exactly the limit is within it, whatever the last bit says


def figures() -> dict[str, Better]:
    """Every figure that a rule may name, and which way is good: those of a cell, then those of a mode."""
    return {name: metric.better for name, metric in METRICS.items()} | HEADLINES


def sign(figure: str) -> int:
    """1 where more is better, else -1."""
    return 1 if figures()[figure] == "higher" else -1


def unit(figure: str) -> str:
    """The unit a figure is shown in; headline figures are rates."""
    return METRICS[figure].unit if figure in METRICS else "%"


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
        return self.figure in METRICS

    def covers(self, mode: str, condition: Condition | None) -> bool:
        """Whether the rule speaks of this cell, or (condition None) of this mode's headline figures."""
        if (condition is not None) != self.about_cells:
            return False
        return covers(self.scope, mode, condition)

    def broken(self, base: float, new: float) -> bool:
        """Whether the change from `base` to `new` is worse than the rule allows."""
        loss = sign(self.figure) * (base - new)
        return loss > (self.limit * abs(base) if self.relative else self.limit) + ROUNDING


def covers(scope: str, mode: str, condition: Condition | None) -> bool:
    """Whether `mode/corruption/severity`, its parts patterns and the last ones left out at will, fits."""
    parts = scope.split("/") if scope else []
    names = [mode]
    if condition is not None:
        names += [condition.corruption, f"{condition.severity:g}"]
    return all(fnmatchcase(name, part) for name, part in zip(names, parts, strict=False))


def parse(text: str) -> Rule:
    """Read one --fail-if. UsageError in one line where it does not make sense."""
    # From the right: modes hold colons too ('adapt:n=32/fog/3: top1:-1pp').
    parts = [part.strip() for part in text.rsplit(":", 2)]
    if len(parts) < 2:
        raise UsageError(f"--fail-if '{text}': write FIGURE:CHANGE, such as top1:-0.5pp")
    change, figure, scope = parts[-1], parts[-2], parts[0] if len(parts) == 3 else ""
    if figure not in figures():
        raise unknown("figure in --fail-if", figure, figures())
    match = CHANGE.fullmatch(change)
    if match is None:
        raise UsageError(f"--fail-if '{text}': '{change}' is no change; write -0.5pp, +1% or +0.02")
    given, number, of = match.groups()
    worse = "-" if sign(figure) > 0 else "+"
    if given != worse:
        raise UsageError(f"--fail-if '{text}': {figure} gets worse with {worse}, write {worse}{number}{of}")
    rate = unit(figure) == "%"
    if of == "pp" and not rate:
        raise UsageError(
            f"--fail-if '{text}': {figure} is not a rate; write {given}{number} or {given}{number}%"
        )
    if of == "" and rate:
        raise UsageError(f"--fail-if '{text}': say pp (points) or % (of the baseline)")
    _check_scope(text, figure, scope)
    limit = float(number) / (100 if of else 1)
    return Rule(text.strip(), scope, figure, limit, of == "%")


def parse_loss(text: str, option: str = "--power") -> float:
    """A loss of accuracy in points, `0.5pp`, as a fraction. UsageError where it is none."""
    match = CHANGE.fullmatch(text.strip() if text.strip()[:1] in ("+", "-") else f"-{text.strip()}")
    points = float(match[2]) if match else 0.0
    if match is None or match[1] != "-" or match[3] != "pp" or not 0 < points <= 100:
        raise UsageError(f"{option} '{text}': give a loss of accuracy in points, such as 0.5pp")
    return points / 100


def _check_scope(text: str, figure: str, scope: str) -> None:
    parts = scope.split("/") if scope else []
    most = 3 if figure in METRICS else 1
    if len(parts) > most or any(not part for part in parts):
        shape = "mode/corruption/severity" if most == 3 else "mode"
        raise UsageError(f"--fail-if '{text}': the scope of {figure} is {shape}, not '{scope}'")
