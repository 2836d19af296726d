"""One mode of one network under one condition: its predictions, its running count, its time, its room."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lnbench import metrics
from lnbench.dist import Processes
from lnbench.errors import DataError, UsageError
from lnbench.evaluate.prepare import Subject
from lnbench.norm import wrap
from lnbench.norm.modes import Mode
from lnbench.types import Condition

Whole = TypeVar("Whole", Tensor, np.ndarray)
Made = TypeVar("Made")


@dataclass(frozen=True)
class Result:
    """One cell: a mode under a condition. `correct` is bool (N,), in the order of the store.

    `seconds` is the time of the device, added over all processes.
    """

    mode: Mode
    condition: Condition
    scores: metrics.Scores
    correct: np.ndarray
    seconds: float


@dataclass
class Room:
    """How many pieces a chunk is computed in: more than one once the device's memory did not suffice."""

    parts: int = 1


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


@dataclass
class Stopwatch:
    """Time spent inside `with`, on the device's own clock, so that nothing is waited for until the end."""

    device: torch.device
    _seconds: float = 0.0
    _started: float = 0.0
    _events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            pair = (_event(), _event())
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


@dataclass
class Task:
    """The running count of one subject in one mode.

    `counts`: float64 (chunks or batches, SIZE), a row for each, so that their sum is taken in the order of
    the grid whoever computed them; `correct`: uint8 (N,).
    """

    subject: Subject
    mode: Mode
    room: Room
    counts: Tensor
    correct: Tensor
    watch: Stopwatch
    statistics: wrap.Adapted | None = None

    @classmethod
    def start(cls, subject: Subject, mode: Mode, room: Room, rows: int, images: int) -> Task:
        device = subject.classifier.device
        counts = metrics.empty(device).expand(rows, -1).clone()
        return cls(
            subject,
            mode,
            room,
            counts,
            torch.zeros(images, dtype=torch.uint8, device=device),
            Stopwatch(device),
        )

    def adapt(self, pixels: Tensor) -> None:
        """Take the statistics of these images as the condition's."""
        layers = self.subject.layers
        with self.watch:
            try:
                self.statistics = layers.adapt(lambda: self.subject.classifier.logits(pixels))
                return
            except torch.OutOfMemoryError:
                pass
        raise UsageError(
            f"--norm {self.mode}: {len(pixels)} images at once do not fit into the memory of "
            f"{self.subject.classifier.device}; use a smaller n"
        )

    def count(
        self, row: int, pixels: Tensor, labels: Tensor, positions: Tensor, counted: int | None = None
    ) -> None:
        """Count the first `counted` images of chunk or batch `row`; all of them where None."""
        with self.watch:
            log_probs, predicted = self._predict(pixels)
            log_probs, predicted = log_probs[:counted], predicted[:counted]
            labels, positions = labels[:counted], positions[:counted]
            self.counts[row] = metrics.count(log_probs, predicted, labels)
            self.correct[positions] = (predicted == labels).to(torch.uint8)

    @torch.inference_mode()
    def result(self, condition: Condition, processes: Processes) -> Result:
        """The cell, with what all processes counted."""
        seconds = torch.tensor([self.watch.seconds()], dtype=torch.float64)
        for sums in (self.counts, self.correct, seconds):
            processes.add(sums)
        scores = metrics.scores(self.counts.sum(0))
        return Result(self.mode, condition, scores, self.correct.bool().cpu().numpy(), float(seconds))

    def _predict(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if not self.mode.needs_batch:
            pieces = in_pieces(
                lambda part: predict(self.subject, self.mode, part, self.statistics), pixels, self.room
            )
            log_probs, predicted = zip(*pieces, strict=True)
            return torch.cat(log_probs), torch.cat(predicted)
        try:
            return predict(self.subject, self.mode, pixels)
        except torch.OutOfMemoryError:
            pass
        raise self._too_large(pixels)

    def _too_large(self, pixels: Tensor) -> UsageError:
        """The batch is part of the answer and cannot be cut: name one that fits."""
        groups = self.subject.layers.groups
        size = len(pixels) // 2
        while size > groups:
            size -= size % groups
            torch.cuda.empty_cache()
            try:
                predict(self.subject, self.mode, pixels[:size])
                break
            except torch.OutOfMemoryError:
                size //= 2
        fits = f"--batch-size {size} fits" if size > groups else "no batch fits"
        return UsageError(
            f"--norm {self.mode}: a batch of {len(pixels)} images does not fit into the memory of "
            f"{self.subject.classifier.device}; {fits}"
        )


def predict(
    subject: Subject, mode: Mode, pixels: Tensor, statistics: wrap.Adapted | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities float32 (B, classes) and predictions int64 (B,) of uint8 pixels (B, 3, H, W)."""
    outputs = []
    if statistics is not None:
        subject.layers.keep(statistics)
    for group in wrap.passes(subject.layers, mode):
        subject.layers.use(mode, group)
        outputs.append(subject.classifier.logits(pixels))
    return wrap.combine(torch.stack(outputs), mode)


def in_pieces(work: Callable[[Whole], Made], whole: Whole, room: Room) -> list[Made]:
    """`work` on the pieces of a chunk, more and smaller ones each time the device's memory runs out.

    Only for work on an image that does not depend on its company. Raises DataError when a single image
    does not fit.
    """
    while True:
        step = -(-len(whole) // room.parts)
        try:
            return [work(whole[start : start + step]) for start in range(0, len(whole), step)]
        except torch.OutOfMemoryError:
            if step == 1:
                raise DataError(
                    "the device's memory does not hold one image and the network; use a smaller --crop, "
                    "--precision bf16 or another --device"
                ) from None
        room.parts *= 2
        torch.cuda.empty_cache()
