"""The loop: every condition is corrupted once, every mode counts it, nothing waits for the device.

Two grids lie over one stream of corrupted chunks. Modes in which an image's prediction does not depend on
its batch take the chunks as they come, always cut at the same places, so that their counts do not know
the batch size. Modes in which it does take batches of exactly `batch_size` images, re-cut from the same
stream. Both follow one seeded order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from lnbench import metrics
from lnbench.norm import swap
from lnbench.norm.modes import Mode
from lnbench.prepare import Images, Subject
from lnbench.stream import Stream, Waiting
from lnbench.types import Condition

Adapted = tuple[tuple[Tensor, Tensor] | None, ...]


@dataclass(frozen=True)
class Result:
    """One cell: a mode under a condition. `correct` is bool (N,), in the order of the store."""

    mode: Mode
    condition: Condition
    scores: metrics.Scores
    correct: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a condition is: images through, of all images."""

    condition: Condition
    images: int
    total: int


@dataclass
class _Task:
    """The running count of one subject in one mode."""

    subject: Subject
    mode: Mode
    counts: Tensor
    correct: Tensor  # bool (N,)
    watch: Stopwatch
    statistics: Adapted | None = None

    def count(self, pixels: Tensor, labels: Tensor, positions: Tensor, counted: int | None = None) -> None:
        """Count the first `counted` images of a chunk or batch; all of them where None."""
        with self.watch:
            log_probs, predicted = predict(self.subject, self.mode, pixels, self.statistics)
            log_probs, predicted = log_probs[:counted], predicted[:counted]
            labels, positions = labels[:counted], positions[:counted]
            self.counts += metrics.count(log_probs, predicted, labels)
            self.correct[positions] = predicted == labels

    def result(self, condition: Condition) -> Result:
        scores = metrics.scores(self.counts)
        return Result(self.mode, condition, scores, self.correct.cpu().numpy(), self.watch.seconds())


@dataclass
class Stopwatch:
    """Time spent inside `with`, on the device's own clock, so that nothing is waited for until the end."""

    device: torch.device
    _seconds: float = 0.0
    _started: float = 0.0
    _events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            pair = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            self._events.append(pair)
            pair[0].record()
        else:
            self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self._events[-1][1].record()
        else:
            self._seconds += time.perf_counter() - self._started

    def seconds(self) -> float:
        """Seconds so far; on a GPU this waits for the work that was timed."""
        if self._events:
            torch.cuda.synchronize(self.device)
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events.clear()
        return self._seconds


def predict(
    subject: Subject, mode: Mode, pixels: Tensor, statistics: Adapted | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities float32 (B, classes) and predictions int64 (B,) of uint8 pixels (B, 3, H, W)."""
    outputs = []
    if statistics is not None:
        for layer, adapted in zip(subject.layers.layers, statistics, strict=True):
            layer.adapted = adapted
    for group in swap.passes(subject.layers, mode):
        subject.layers.use(mode, group)
        outputs.append(subject.classifier.logits(pixels))
    return swap.combine(torch.stack(outputs), mode)


def run(
    subjects: Sequence[Subject],
    images: Images,
    finished: Callable[[Subject, Mode, Condition], bool],
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[tuple[Condition, list[tuple[Subject, list[Result]]]]]:
    """Count every unfinished cell, condition by condition; yields each condition when it is complete.

    All subjects share the config that concerns images and corruptions, and so each corrupted chunk.
    """
    for condition in images.conditions:
        work = [(s, [m for m in s.modes if not finished(s, m, condition)]) for s in subjects]
        work = [(subject, modes) for subject, modes in work if modes]
        if work:
            yield condition, _count_condition(work, images, condition, on_progress)


@torch.inference_mode()
def _count_condition(
    work: Sequence[tuple[Subject, list[Mode]]],
    images: Images,
    condition: Condition,
    on_progress: Callable[[Progress], None] | None,
) -> list[tuple[Subject, list[Result]]]:
    store = images.of(condition)
    config = work[0][0].config
    device = work[0][0].classifier.device
    total = len(store.labels)
    stream = Stream(store, condition, config, device, corrupted=images.precomputed)
    tasks = [_start(subject, mode, stream, total) for subject, modes in work for mode in modes]
    apart = [task for task in tasks if not task.mode.needs_batch]
    together = [task for task in tasks if task.mode.needs_batch]
    waiting = Waiting(config.batch_size)
    seen = 0
    for positions in stream.chunks():
        chunk = (stream.pixels(positions), stream.labels(positions), stream.indices(positions))
        for task in apart:
            task.count(*chunk)
        if together:
            waiting.add(*chunk)
            _count_batches(together, waiting)
        seen += len(positions)
        if on_progress:
            on_progress(Progress(condition, seen, total))
    if together and waiting.images:
        # A short last batch is completed from the start of the order; the fillers are not counted.
        counted = waiting.images
        for positions in stream.fillers(config.batch_size - counted):
            waiting.add(stream.pixels(positions), stream.labels(positions), stream.indices(positions))
        _count_batches(together, waiting, counted)
    return [(subject, [t.result(condition) for t in tasks if t.subject is subject]) for subject, _ in work]


def _start(subject: Subject, mode: Mode, stream: Stream, total: int) -> _Task:
    device = subject.classifier.device
    task = _Task(
        subject,
        mode,
        metrics.empty(device),
        torch.zeros(total, dtype=torch.bool, device=device),
        Stopwatch(device),
    )
    if mode.kind == "adapt":
        pixels = stream.pixels(stream.order[: mode.n])
        with task.watch:
            subject.layers.adapt(lambda: subject.classifier.logits(pixels))
            task.statistics = tuple(layer.adapted for layer in subject.layers.layers)
    return task


def _count_batches(tasks: Sequence[_Task], waiting: Waiting, counted: int | None = None) -> None:
    for pixels, labels, positions in waiting.batches():
        for task in tasks:
            task.count(pixels, labels, positions, counted)
