"""Time on whichever device works: between events on a GPU, by a clock of the host elsewhere."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch

from lnbench.device import current


class Clock:
    """Adds up the time spent in named parts; a GPU is waited for at the end alone, so that nothing changes.

    `host`: what is read elsewhere, and by `now`: `time.perf_counter` or `time.process_time`.
    """

    def __init__(self, device: torch.device, host: Callable[[], float] = time.perf_counter) -> None:
        self.device, self.host = device, host
        self.paused = False
        self._spent: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    def now(self) -> float:
        """Seconds of the host's clock, once the device has done all it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)
        return self.host()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs inside, under `name`, unless paused."""
        if self.paused:
            yield
        elif self.is_gpu:
            begin = self._stamp()
            yield
            self._events.append((name, begin, self._stamp()))
        else:
            begin_at = self.host()
            yield
            self._spent[name] += self.host() - begin_at

    def seconds(self) -> dict[str, float]:
        """Seconds of each part so far."""
        if self._events:
            torch.cuda.synchronize(self.device)
            for name, begin, end in self._events:
                self._spent[name] += begin.elapsed_time(end) / 1000
            self._events.clear()
        return dict(self._spent)

    def _stamp(self) -> torch.cuda.Event:
        with current(self.device):
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        return event


def median_seconds(
    work: Callable[[int], object], device: torch.device, *, repeats: int, sets: Sequence[int] = (0,)
) -> float:
    """The median time of `work(set)`, warm; sets of operands take turns, so that no cache is measured."""
    for number in sets:
        work(number)
    taken = []
    for turn in range(repeats):
        clock = Clock(device)
        with clock.part("work"):
            work(sets[turn % len(sets)])
        taken.append(clock)
    return statistics.median(clock.seconds()["work"] for clock in taken)
