"""What modes and corruptions cost, tried on a few images before the grid is spent on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch

from lnbench.evaluate.count import Pieces, Task
from lnbench.evaluate.prepare import Subject
from lnbench.evaluate.stream import Stream
from lnbench.norm.modes.registry import Mode
from lnbench.types import CLEAN, Condition

# A trial goes over so much of the images that the run itself will, twice at least: the first time warms up.
_SHARE = 0.01
_LEAST = 4  # images of a trial: fewer say nothing of many
_REPEATS, _LONG = 3, 0.3  # times, and seconds after which they are enough
_LEAST_BUDGET = 0.1  # seconds
_LEAST_SLOPE = 0.5  # of what an image takes of a small pass is the least that it takes of a large one


@dataclass(frozen=True)
class Speed:
    """Seconds that a mode takes for each image, and at the beginning of each condition."""

    image: float
    begin: float


@torch.no_grad()
def speed(subject: Subject, mode: Mode, stream: Stream, conditions: int) -> Speed:
    """Time one mode on clean images, in a pass like those of the run where it has enough of them.

    A smaller pass is timed beside one of half its size: a pass costs something whatever its size, most of all
    in deep networks. Nothing that is counted or learned here lives on.
    """
    groups, images = subject.layers.groups, len(stream.order)
    most = min(images, stream.chunk if mode.unit == "image" else subject.config.batch_size)
    tried = max(_LEAST, 2 * groups, int(_SHARE * images * conditions))
    tried = most if tried >= most else tried - tried % groups
    subject.answer(CLEAN)

    def timed(count: int) -> tuple[float, float]:
        """Seconds of the beginning, and of a pass over so many images."""
        positions = stream.order[:count]
        given = stream.pixels(positions), stream.labels(positions), stream.indices(positions)
        task = Task.start(subject, mode, Pieces(), 1, images, columns=subject.columns)
        begun = _once(lambda: task.begin(lambda wanted, _: given[0][:wanted]), stream.device)
        return begun, _seconds(lambda: task.count(0, *given), stream.device)

    begun, counted = timed(tried)
    each, half = counted / tried, tried // 2 - tried // 2 % groups
    if tried < most and half >= max(2, groups):
        slope = (counted - timed(half)[1]) / (tried - half)
        each = min(each, max(slope, _LEAST_SLOPE * each))
    whole = counted + each * (most - tried)
    return Speed(whole / most, begun + each * max(0, mode.images - tried))


def corrupting(
    stream_of: Callable[[Condition], Stream], conditions: Sequence[Condition], budget: float
) -> Mapping[Condition, float]:
    """Seconds for each image under each condition, as many of them timed as `budget` seconds allow.

    The middle severity of every corruption comes first; a condition that is not timed is taken to cost what
    its corruption does at others, else what all do on average.
    """
    found: dict[Condition, float] = {}
    warm: set[str] = set()
    until = time.perf_counter() + max(_LEAST_BUDGET, budget)
    for condition in _spread(conditions):
        if time.perf_counter() > until:
            break
        stream = stream_of(condition)
        positions = stream.order[: stream.chunk]  # a few images would say what a call costs, not an image
        if condition.corruption not in warm:  # the first use of a corruption reads its pictures and tables
            stream.pixels(positions)
            warm.add(condition.corruption)
        found[condition] = _once(lambda: stream.pixels(positions), stream.device) / len(positions)  # noqa: B023
    usual = fmean(found.values()) if found else 0.0
    for condition in conditions:
        alike = [found[other] for other in found if other.corruption == condition.corruption]
        found.setdefault(condition, fmean(alike) if alike else usual)
    return found


def _spread(conditions: Sequence[Condition]) -> Iterator[Condition]:
    """The middle condition of each corruption, then those farther and farther from it."""
    of: dict[str, list[Condition]] = {}
    for condition in conditions:
        of.setdefault(condition.corruption, []).append(condition)
    distances = {
        condition: abs(place - (len(own) - 1) / 2)
        for own in of.values()
        for place, condition in enumerate(own)
    }
    yield from sorted(conditions, key=distances.__getitem__)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The median of a few calls, after one that warms up."""
    work()
    times: list[float] = []
    while not times or (len(times) < _REPEATS and sum(times) < _LONG):
        times.append(_once(work, device))
    return median(times)


def _once(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
