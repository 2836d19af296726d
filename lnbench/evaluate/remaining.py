"""How long a run still takes: what was foretold of its parts, corrected by how they went so far.

Modes and corruptions differ in cost by orders of magnitude, so images are no measure of time. Each part keeps
a correction of its own: a mode by the seconds its cells took, the rest by what the clock shows beside them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lnbench.evaluate.plan import Key, Step
from lnbench.types import Condition

# Shares of the whole: what the forecast weighs beside what was seen, and after how much more work what was
# seen counts half. Machines become slower and faster under way: what came last tells most of what comes.
_PRIOR, _HALF = 0.05, 0.15
_REST: Key = (-1, "")


@dataclass(frozen=True)
class _Came:
    """What came with a condition's cells: after how much work, and (foretold, taken) of each part."""

    at: float
    parts: Mapping[Key, tuple[float, float]]


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
        self._whole = sum(sum(_parts(step).values()) for step in steps)
        self._counted = {step.condition: step.begun for step in steps}  # images whose cells are there
        self._through = dict(self._counted)
        # Of each cell; the mixed stream's apart.
        self._seconds: dict[tuple[Condition | None, Key, bool], float] = {
            (step.condition, key, False): seconds for step in steps for key, seconds in step.spent.items()
        }
        totals: dict[Key, float] = defaultdict(float)
        for step in steps:
            for key, seconds in _parts(step).items():
                totals[key] += seconds
        # The forecast, as if so much had gone as foretold.
        told = {key: (_PRIOR * total, _PRIOR * total) for key, total in totals.items()}
        self._seen = [_Came(0.0, told)] if measured else []
        self._prior = _PRIOR * self._whole if measured else 0.0
        self._world, self._clock = world, clock
        self._since = self._at = self._last = clock()  # _last: when cells came
        self._beside: float | None = None  # seconds an image beside modes and corruption, once known

    def rate(self) -> float:
        """Images a second, each counted once under every condition."""
        new = sum(self._through[one] - step.begun for one, step in self._steps.items())
        return new / max(1e-6, self._at - self._since)

    def progressed(self, condition: Condition | None, images: int) -> None:
        """So many images of a condition, or of the mixed stream, are through by now."""
        if condition in self._steps:
            step = self._steps[condition]
            self._through[condition] = max(step.begun, min(images, step.images))
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
        now = self._clock()
        passed, self._at, self._last = (now - self._last) * self._world, now, now
        taken: dict[Key, float] = {}
        for key, whole in (seconds or {}).items():
            taken[key] = whole - self._seconds.get((condition, key, own is None), 0.0)
            self._seconds[condition, key, own is None] = whole
        if own not in self._steps:
            return
        step, before = self._steps[own], self._counted[own]
        after = step.images if images is None or own is None else min(images, step.images)
        self._counted[own], self._through[own] = after, max(self._through[own], after)
        beside = passed - sum(taken.values())
        if self._beside is None and not step.rest:
            self._beside = max(0.0, beside / max(1, after - before))
        taken[_REST] = beside - (self._beside or 0.0) * (after - before)
        share = (after - before) / max(1, step.left)
        parts = {key: (foretold * share, taken.get(key, 0.0)) for key, foretold in _parts(step).items()}
        at = self._seen[-1].at if self._seen else 0.0
        self._seen.append(_Came(at + sum(foretold for foretold, _ in parts.values()), parts))

    def share(self) -> float:
        """How much of the work is done, 0 to 1."""
        done, left, _ = self._work()
        return done / (done + left) if done + left else 1.0

    def left(self) -> float | None:
        """Seconds from now on; None where nothing tells."""
        done, left, under_way = self._work()
        # What is under way says how fast it goes now, the more the longer it has been.
        begun = any(self._counted[one] > step.begun for one, step in self._steps.items())
        others = _HALF * (done + left) if begun else self._prior
        if under_way + others <= 0:
            return None
        pace = ((self._at - self._last) * self._world + others) / (under_way + others)
        return max(0.0, left * pace / self._world - (self._clock() - self._at))

    def _work(self) -> tuple[float, float, float]:
        """What is done, what is left, and what is done without cells yet, in corrected seconds."""
        beside, factors = self._beside or 0.0, self._factors()
        done = left = under_way = 0.0
        for condition, step in self._steps.items():
            images, counted = self._through[condition], self._counted[condition]
            for key, seconds in _parts(step).items():
                lump = step.lumps.get(key, 1)
                by_now = images if images >= step.images else max(counted, images - images % lump)
                each = seconds * factors.get(key, 1.0) / max(1, step.left)
                done, left = done + each * (by_now - step.begun), left + each * (step.images - by_now)
                under_way += each * (by_now - counted)
            done, left = done + beside * (images - step.begun), left + beside * (step.images - images)
            under_way += beside * (images - counted)
        return done, left, under_way

    def _factors(self) -> dict[Key, float]:
        """How each part goes beside what was foretold of it, what was seen last weighing most."""
        foretold: dict[Key, float] = defaultdict(float)
        taken: dict[Key, float] = defaultdict(float)
        for seen in self._seen:
            weight = 0.5 ** ((self._seen[-1].at - seen.at) / (_HALF * self._whole or 1.0))
            for key, (said, took) in seen.parts.items():
                foretold[key] += weight * said
                taken[key] += weight * took
        return {key: max(0.0, taken[key]) / foretold[key] for key in foretold if foretold[key] > 0}


def _parts(step: Step) -> dict[Key, float]:
    return {**step.seconds, _REST: step.rest} if step.rest else dict(step.seconds)
