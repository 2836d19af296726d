"""One mode of one network under one condition: its state, its predictions, its running count, its time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lnbench import memory, metrics
from lnbench.data.store import Store
from lnbench.device import current, one_kind_of_shortage
from lnbench.dist import Processes
from lnbench.errors import DataError, UsageError
from lnbench.evaluate.prepare import Subject
from lnbench.norm.gradient import Diverged
from lnbench.norm.modes.registry import DrawnImages, Forward, Mode, Prediction
from lnbench.norm.state import State
from lnbench.results.draws import answering
from lnbench.types import Condition

Whole = TypeVar("Whole", Tensor, np.ndarray, range)
Made = TypeVar("Made")

_FORGETS = ("resets", "recoveries")  # names under which a mode counts that it forgot what it had learned


@dataclass(frozen=True)
class Result:
    """One cell: a mode under a condition. `correct` is bool (N,), in the order of the store.

    `seconds` is the time of the device, added over all processes; `counts` is what the mode counted; `sums`
    is what `scores` are read from (`metrics.total`). Where the answer depends on the order: `tenths`, top-1
    of the first tenth of the stream to its last; `batches`, of the stream; `resets`, `recoveries`: numbers of
    the batches in which the mode forgot what it had learned, because it was time or because its predictions
    had collapsed. `store`: the images of a precomputed condition, None where every condition has the same.
    """

    mode: Mode
    condition: Condition
    scores: metrics.Scores
    correct: np.ndarray
    seconds: float
    counts: Mapping[str, float] = field(default_factory=dict)
    tenths: tuple[float, ...] = ()
    batches: int = 0
    resets: tuple[int, ...] = ()
    recoveries: tuple[int, ...] = ()
    store: Store | None = None
    sums: Tensor | None = None


@dataclass
class Pieces:
    """How many pieces a chunk is computed in: more than one once the device's memory did not suffice."""

    count: int = 1


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
            self._record(pair[0])
        else:
            self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self._record(self._events[-1][1])
        else:
            self._seconds += time.perf_counter() - self._started

    def _record(self, event: torch.cuda.Event) -> None:
        # Events belong to the device that is current, which need not be the one that works.
        with current(self.device):
            event.record()

    def seconds(self) -> float:
        """Seconds so far; on a GPU this waits for the work that was timed."""
        if self._events:
            torch.cuda.synchronize(self.device)
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events.clear()
        return self._seconds


@dataclass
class Task:
    """The running count of one subject in one mode, and what the mode keeps of the condition.

    `counts`: float64 (chunks or batches, SIZE), a row for each, so that their sum is taken in the order of
    the grid whoever computed them; `correct`: uint8 (N,); `shares`: which of the mode's draws answers for
    each image, int64 (N,), None where it has one; `columns`: the score of each label, where not its own
    number. `forgot`: rows in which the mode counted a reset, and those in which it
    counted a recovery; `noted`: what it had counted when the task was closed; `stopped`: why there
    is no result, where the mode learned its way out of the numbers.
    """

    subject: Subject
    mode: Mode
    pieces: Pieces
    counts: Tensor
    correct: Tensor
    watch: Stopwatch
    shares: Tensor | None = None
    state: State = field(default_factory=State)
    columns: Tensor | None = None
    forgot: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in _FORGETS})
    noted: dict[str, float] = field(default_factory=dict)
    stopped: str | None = None

    @classmethod
    def start(
        cls,
        subject: Subject,
        mode: Mode,
        pieces: Pieces,
        rows: int,
        images: int,
        state: State | None = None,
        columns: Tensor | None = None,
    ) -> Task:
        """Begin to count, afresh or going on with a `state` of the condition before."""
        device = subject.classifier.device
        counts = metrics.empty(device).expand(rows, -1).clone()
        correct = torch.zeros(images, dtype=torch.uint8, device=device)
        shares = torch.from_numpy(answering(images, mode.draws)).to(device) if mode.draws > 1 else None
        kept = State() if state is None else state
        kept.counts.clear()
        return cls(subject, mode, pieces, counts, correct, Stopwatch(device), shares, kept, columns)

    @property
    def batch_size(self) -> int:
        """How many images a batch of its mode has."""
        return self.mode.batch_size(self.subject.config.batch_size)

    def begin(self, images: DrawnImages) -> None:
        """Let the mode look at some images of the condition before the first is counted.

        Raises UsageError where the memory does not hold them.
        """
        with self.watch:
            try:
                with one_kind_of_shortage():
                    self.mode.begin(self._forward(self.state), images, self.state)
                return
            except Diverged as error:
                self.stopped = f"--norm {self.mode}: {error}"
                return
            except torch.OutOfMemoryError:
                pass
        raise UsageError(
            f"--norm {self.mode}: {self.mode.images} images at once do not fit into the memory of "
            f"{self.subject.classifier.device}; use a smaller {self.mode.images_option}"
        )

    def count(
        self, row: int, pixels: Tensor, labels: Tensor, positions: Tensor, counted: int | None = None
    ) -> None:
        """Count the first `counted` images of chunk or batch `row`; all of them where None."""
        prediction = self.predict(row, pixels, positions)
        if prediction is None:
            return
        with self.watch:
            self.tally(row, Prediction(*(part[:counted] for part in prediction)), labels, positions)

    def predict(self, row: int, pixels: Tensor, positions: Tensor) -> Prediction | None:
        """The answer for chunk or batch `row`, of the images at these positions; None once it stopped."""
        if self.stopped is not None:
            return None
        before = {name: self.state.counts.get(name, 0) for name in _FORGETS}
        with self.watch:
            try:
                prediction = self._predict(pixels, positions)
            except Diverged as error:
                self.stopped = f"--norm {self.mode}: {error}"
                return None
        if self.mode.is_learning:
            memory.relieve(self.subject.classifier.device)
        for name, rows in self.forgot.items():
            if self.state.counts.get(name, 0) > before[name]:
                rows.append(row)
        return prediction

    def tally(self, row: int, prediction: Prediction, labels: Tensor, positions: Tensor) -> None:
        """Add predictions to a row of the counts; images beyond the predictions' number are left out."""
        log_probs, predicted = prediction
        labels, positions = labels[: len(predicted)], positions[: len(predicted)]
        labels = labels if self.columns is None else self.columns[labels]
        predicted = metrics.judge(log_probs, predicted)
        self.counts[row] += metrics.count(log_probs, predicted, labels)
        self.correct[positions] = (predicted == labels).to(torch.uint8)

    def close(self) -> None:
        """Note what the mode counted: its state may go on under the next condition."""
        self.noted = {name: float(value) for name, value in self.state.counts.items()}

    @torch.no_grad()
    def result(
        self, condition: Condition, processes: Processes, order: np.ndarray, before: Tensor | None = None
    ) -> Result:
        """The cell, with what all processes counted; `order` is that of the stream, int64 (N,).

        `before`: the sums of what was counted of the cell before this task; its flags are this task's alone.
        """
        seconds = torch.tensor([self.watch.seconds()], dtype=torch.float64)
        for sums in (self.counts, self.correct, seconds):
            processes.all_reduce(sums)
        sums = metrics.total(self.counts, before)
        scores = metrics.scores(sums)
        correct = self.correct.bool().cpu().numpy()
        noted: Counter[str] = Counter()
        forgot: dict[str, list[int]] = {name: [] for name in _FORGETS}
        for own, found in processes.gather((self.noted, self.forgot)):
            noted.update(own)
            for name, rows in found.items():
                forgot[name] += rows
        whole = Result(self.mode, condition, scores, correct, float(seconds), dict(noted), sums=sums)
        if self.mode.unit == "image":
            return whole
        batches = -(-len(order) // self.batch_size)
        resets, recoveries = (tuple(forgot[name]) for name in _FORGETS)
        return replace(
            whole, tenths=tenths(correct, order), batches=batches, resets=resets, recoveries=recoveries
        )

    def _forward(self, state: State, network: Callable[[Tensor], Tensor] | None = None) -> Forward:
        def forward(pixels: Tensor) -> Tensor:
            # Each time anew: other modes of the same network come in between.
            self.subject.layers.use(self.mode, state)
            return self.subject.classifier.logits(pixels, network)

        return forward

    def _answer(self, pixels: Tensor, positions: Tensor, state: State) -> Prediction:
        if self.shares is not None:
            state.draw = self.shares[positions]
        with one_kind_of_shortage():  # of a step along a gradient, too
            forward = self._forward(state, self.subject.compiled.get(str(self.mode)))
            return self.mode.predict(forward, pixels, state, self.subject.layers.groups)

    def _predict(self, pixels: Tensor, positions: Tensor) -> Prediction:
        def answer(part: range) -> Prediction:
            at = slice(part.start, part.stop)
            return self._answer(pixels[at], positions[at], self.state)

        if self.mode.unit == "image":
            found = in_pieces(answer, range(len(pixels)), self.pieces)
            return Prediction(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        try:
            return answer(range(len(pixels)))
        except torch.OutOfMemoryError:
            pass
        raise self._too_large(pixels, positions)

    def _too_large(self, pixels: Tensor, positions: Tensor) -> UsageError:
        """The batch is part of the answer and cannot be cut: name one that fits, tried on another state."""
        groups = self.subject.layers.groups
        size = len(pixels) // 2
        while size > groups:
            size -= size % groups
            torch.cuda.empty_cache()
            try:
                self._answer(pixels[:size], positions[:size], State())
                break
            except torch.OutOfMemoryError:
                size //= 2
        fits = f"--batch-size {size} fits" if size > groups else "no batch fits"
        return UsageError(
            f"--norm {self.mode}: a batch of {len(pixels)} images does not fit into the memory of "
            f"{self.subject.classifier.device}; {fits}"
        )


def standing(tasks: Sequence[Task], processes: Processes) -> list[Task]:
    """Those tasks that did not stop, in whichever process they were counted; every process learns why."""
    found = processes.gather([task.stopped for task in tasks])
    for number, task in enumerate(tasks):
        task.stopped = next((own[number] for own in found if own[number] is not None), None)
    return [task for task in tasks if task.stopped is None]


def tenths(correct: np.ndarray, order: np.ndarray) -> tuple[float, ...]:
    """The rate of `correct`, bool (N,), in each tenth of an order of its images, as even as can be."""
    parts = np.array_split(correct[order], min(10, len(order)))
    return tuple(round(float(part.mean()), 6) for part in parts)


def in_pieces(work: Callable[[Whole], Made], whole: Whole, pieces: Pieces) -> list[Made]:
    """`work` on the pieces of a chunk, more and smaller ones each time the device's memory runs out.

    Only for work on an image that does not depend on its company. Raises DataError when a single image
    does not fit.
    """
    while True:
        step = -(-len(whole) // pieces.count)
        try:
            with one_kind_of_shortage():
                return [work(whole[start : start + step]) for start in range(0, len(whole), step)]
        except torch.OutOfMemoryError:
            if step == 1:
                raise DataError(
                    "the device's memory does not hold one image and the network; use a smaller --crop, "
                    "--precision bf16 or another --device"
                ) from None
        pieces.count *= 2
        torch.cuda.empty_cache()
