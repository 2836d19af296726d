"""How long a run still takes: what was foretold of its parts, corrected by how they went so far.

Modes and corruptions differ in cost by orders of magnitude, so images are no measure of time. Each part keeps
a correction of its own: a mode by the seconds its cells took, the rest by what the clock shows beside them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from lnbench.evaluate.plan import Key, Step
from lnbench.types import Condition

# How much the forecast weighs beside what was seen: as if so much of each part had gone as foretold.
_PRIOR = 0.02
_REST: Key = (-1, "")


class Remaining:
    """The work of a run and how much of it is done. `steps` in seconds where `measured`, else in any unit."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        measured: bool = True,
        world: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = {step.condition: step for step in steps}
        self._through = dict.fromkeys(self._steps, 0)
        self._prior = _PRIOR if measured else 0.0
        self._world, self._clock = world, clock
        self._total: dict[Key, float] = defaultdict(float)
        for step in steps:
            for key, seconds in _parts(step).items():
                self._total[key] += seconds
        self._counted = dict.fromkeys(self._steps, 0)  # images whose cells are there
        self._seconds: dict[tuple[Condition, Key, bool], float] = {}  # of each cell; the mixed stream's apart
        self._since = self._at = self._finished_at = clock()
        self._beside: float | None = None  # seconds an image beside modes and corruption, once known

    def rate(self) -> float:
        """Images a second, each counted once under every condition."""
        return sum(self._through.values()) / max(1e-6, self._at - self._since)

    def progressed(self, condition: Condition | None, images: int) -> None:
        """So many images of a condition, or of the mixed stream, are through by now."""
        if condition in self._steps:
            self._through[condition] = min(images, self._steps[condition].images)
        self._at = self._clock()

    def finished(
        self,
        condition: Condition,
        seconds: Mapping[Key, float] | None = None,
        images: int | None = None,
    ) -> None:
        """Cells of a condition are there, of its first `images` or all; they come again when there are more.

        `seconds` that its modes took for them, over all processes.
        """
        own: Condition | None = condition
        if condition not in self._steps or self._counted[condition] >= self._steps[condition].images:
            own = None  # a cell of the mixed stream
        self._at = self._finished_at = self._clock()
        for key, taken in (seconds or {}).items():
            self._seconds[condition, key, own is None] = taken
        if own not in self._steps:
            return
        step = self._steps[own]
        self._counted[own] = step.images if images is None or own is None else min(images, step.images)
        self._through[own] = max(self._through[own], self._counted[own])
        if self._beside is None and not step.rest:
            self._beside = max(0.0, self._rest_taken() / max(1, self._counted[own]))

    def share(self) -> float:
        """How much of the work is done, 0 to 1."""
        done, left = self._work()
        return done / (done + left) if done + left else 1.0

    def left(self) -> float | None:
        """Seconds from now on; None where nothing tells."""
        done, left = self._work()
        prior = self._prior * (done + left)
        passed = (self._at - self._since) * self._world
        if done + prior <= 0:
            return None
        pace = (passed + prior) / (done + prior)
        return max(0.0, left * pace / self._world - (self._clock() - self._at))

    def _work(self) -> tuple[float, float]:
        """What is done and what is left, in corrected seconds."""
        factors = {key: self._factor(key) for key in self._total}
        beside = self._beside or 0.0
        done = left = 0.0
        for condition, step in self._steps.items():
            images = self._through[condition]
            for key, seconds in _parts(step).items():
                lump = step.lumps.get(key, 1)
                counted = images if images >= step.images else images - images % lump
                part = seconds * factors[key] * counted / max(1, step.images)
                done, left = done + part, left + seconds * factors[key] - part
            done, left = done + beside * images, left + beside * (step.images - images)
        return done, left

    def _factor(self, key: Key) -> float:
        """How a part goes beside what was foretold of it."""
        prior = self._prior * self._total[key]
        taken = sum(seconds for (_, own, _), seconds in self._seconds.items() if own == key)
        if key == _REST:
            taken = max(0.0, self._rest_taken() - (self._beside or 0.0) * sum(self._counted.values()))
        foretold = prior + sum(
            _parts(step).get(key, 0.0) * self._counted[one] / max(1, step.images)
            for one, step in self._steps.items()
        )
        if foretold <= 0 or (not self._prior and taken <= 0):
            return 1.0
        return (taken + prior) / foretold

    def _rest_taken(self) -> float:
        """Seconds of what is finished that no mode took."""
        passed = (self._finished_at - self._since) * self._world
        return passed - sum(self._seconds.values())


def _parts(step: Step) -> dict[Key, float]:
    return {**step.seconds, _REST: step.rest} if step.rest else dict(step.seconds)
