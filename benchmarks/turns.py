"""Times beside each other on a machine that has other work: rivals take turns, pairs give ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Work = Callable[[], object]
Timed = Callable[[], float]  # does its work and tells the seconds


def least(rivals: dict[str, Work], rounds: int) -> dict[str, float]:
    """Processor seconds of each, the least of several rounds in turn; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
        for name, work in rivals.items():
            taken[name].append(timed(work))
    return {name: min(found[1:]) for name, found in taken.items()}


def ratios(base: Timed, rivals: dict[str, Timed], rounds: int) -> dict[str, float]:
    """Seconds of each rival beside `base`, run before and after it: the median over rounds.

    What else the machine does slows both of a pair alike, and a round that it hit on one side alone is no
    median. The first round is not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
        before = base()
        for name, rival in rivals.items():
            own, after = rival(), base()
            found[name].append(2 * own / (before + after))
            before = after
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def timed(work: Work) -> float:
    """Processor seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started
