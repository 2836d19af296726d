"""How well the figures of a run in rounds are known: `--until 1`, or `--until 'fixed/fog/*:2'`.

Without a scope, clean and the mean over corruptions of every mode; with one, each cell that it covers. A
figure is known to ± so many points when the confidence sequence of its mean over the whole set (`sequences`)
lies that near to what was found so far, on both sides. The unit is the image, with its mean over conditions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lnbench.errors import UsageError
from lnbench.hashing import SHUFFLE, order
from lnbench.results import sequences
from lnbench.results.bits import unpack
from lnbench.results.rules import covers
from lnbench.results.schema import Cell, Interval, Record, Rounds, Run, Summary
from lnbench.results.scores import mean_weights
from lnbench.types import CLEAN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POINTS = r"(?P<points>\d{1,3}(?:\.\d{0,6})?|\.\d{1,6})"
_TEXT = re.compile(rf"(?:(?P<scope>.+):)?\s*{_POINTS}\s*(?:pp)?", re.ASCII)


@dataclass(frozen=True)
class Target:
    """Figures to be known to ± `width`, a fraction: headline figures, or the cells of a scope."""

    text: str
    scope: str | None
    width: float


def parse(text: str) -> Target:
    """Read one --until. UsageError where it does not make sense."""
    match = _TEXT.fullmatch(text.strip())
    points = float(match["points"]) if match else 0.0
    if match is None or not 0 < points <= 50:
        raise UsageError(f"--until '{text}': give points, such as 1.0, or cells and points, 'fixed/fog/*:2'")
    scope = match["scope"]
    if scope is not None and not 1 <= len(scope.split("/")) <= 3:
        raise UsageError(f"--until '{text}': cells are mode/corruption/severity, not '{scope}'")
    return Target(text.strip(), None if scope is None else scope.strip(), points / 100)


def check(targets: Sequence[Target], run: Run) -> None:
    """UsageError where a target speaks of nothing that this run has."""
    for target in targets:
        if target.scope is not None and not any(covers(target.scope, *key) for key in run.suite.keys):
            raise UsageError(f"--until '{target.text}' matches no cell of this run")


def with_sequences(
    summary: Mapping[str, Summary], cells: Sequence[Cell], run: Run, rounds: Rounds
) -> dict[str, Summary]:
    """The summaries with the confidence sequences of clean and mean; cells carry their bits."""
    found = {}
    for mode, one in summary.items():
        own = [cell for cell in cells if cell.mode == mode]
        clean = _sequence([1.0 * (cell.condition == CLEAN) for cell in own], own, run, rounds)
        mean = _sequence(mean_weights(own), own, run, rounds)
        found[mode] = one.model_copy(update={"clean_sequence": clean, "mean_corruption_sequence": mean})
    return found


def known(
    targets: Sequence[Target], summary: Mapping[str, Summary], cells: Sequence[Cell], run: Run, rounds: Rounds
) -> bool:
    """Whether every figure asked for is known as well as asked; not before there is one."""
    widths = [
        (half, target.width)
        for target in targets
        for half in (
            _headline_widths(summary)
            if target.scope is None
            else _cell_widths(target.scope, cells, run, rounds)
        )
    ]
    return bool(widths) and all(half <= width + 1e-12 for half, width in widths)


def sentence(record: Record, name: str = "") -> str:
    """What a run in rounds knows by now: '1,600 of 10,000 images: fixed clean 81.0 ±1.9, mean 55.2 ±1.7'."""
    found = []
    for mode, one in record.summary.items():
        figures = (
            ("clean", one.clean_top1, one.clean_sequence),
            ("mean", one.mean_corruption_top1, one.mean_corruption_sequence),
        )
        texts = [
            f"{what} {100 * figure:.2f} ±{100 * half_width(figure, interval):.2f}"
            for what, figure, interval in figures
            if figure is not None and interval is not None
        ]
        found += [f"{mode} {', '.join(texts)}"] if texts else []
    assert record.rounds is not None
    before = f"{name}: " if name else ""
    return f"{before}{record.rounds.images:,} of {record.rounds.of:,} images: {'; '.join(found)}"


def _headline_widths(summary: Mapping[str, Summary]) -> Iterator[float]:
    for one in summary.values():
        for figure, interval in (
            (one.clean_top1, one.clean_sequence),
            (one.mean_corruption_top1, one.mean_corruption_sequence),
        ):
            if figure is not None:
                yield math.inf if interval is None else half_width(figure, interval)


def _cell_widths(scope: str, cells: Sequence[Cell], run: Run, rounds: Rounds) -> Iterator[float]:
    for cell in cells:
        if covers(scope, *cell.key):
            interval = _sequence([1.0], [cell], run, rounds)
            yield math.inf if interval is None else half_width(cell.top1, interval)


def half_width(figure: float, interval: Interval) -> float:
    """How far the farther end of an interval lies from the figure."""
    return max(figure - interval[0], interval[1] - figure)


def _sequence(weights: Sequence[float], cells: Sequence[Cell], run: Run, rounds: Rounds) -> Interval | None:
    """The interval of Σ weight · top1 over all images of the set; None where cells count other images."""
    import numpy as np

    used = [(cell, weight) for cell, weight in zip(cells, weights, strict=True) if weight]
    if not used or any(cell.correct is None or cell.images != rounds.images for cell, _ in used):
        return None
    values = np.zeros(rounds.images)
    for cell, weight in used:
        values += weight * unpack(str(cell.correct), rounds.images)
    return sequences.interval(values[along(run, rounds.images)].clip(0, 1), run.data.images)


def along(run: Run, images: int) -> NDArray[np.int64]:
    """Where each image of the order's first ones lies among them as the store has them: int64 (images,)."""
    import numpy as np

    first = order(run.data.images, run.suite.seed, SHUFFLE)[:images]
    ranks = np.empty(images, np.int64)
    ranks[np.argsort(first)] = np.arange(images)
    return ranks
