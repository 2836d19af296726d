"""The loop: every condition is corrupted once, every mode counts it, nothing waits for the device.

Two grids lie over one stream of corrupted chunks. Modes in which an image's prediction does not depend on
its batch take the chunks as they come, always cut at the same places, so that their counts do not know
the batch size. Modes in which it does take batches of exactly `batch_size` images, re-cut from the same
stream. Both follow one seeded order.

Several processes share both grids, each computing a run of either. An image is corrupted once; twice only
where its chunk and its batch belong to different processes, which at most two chunks of a process do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lnbench.dist import ALONE, Processes
from lnbench.evaluate.count import Result, Room, Task, in_pieces
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.shard import Share, shares, window
from lnbench.evaluate.stream import Stream, Waiting
from lnbench.norm.modes import Mode
from lnbench.types import Condition

Work = tuple[tuple[Subject, Mode], ...]


@dataclass(frozen=True)
class Progress:
    """How far a condition is: images through, of all images."""

    condition: Condition
    images: int
    total: int


@dataclass(frozen=True)
class Settings:
    """How to compute, as far as it changes no figure.

    `room` learns when device memory ran short; `bounded`: give back the memory of mapped images once used.
    """

    processes: Processes = ALONE
    room: Room = field(default_factory=Room)
    bounded: bool = False


@dataclass(frozen=True)
class _Part:
    """What one process has to do for one condition."""

    condition: Condition
    work: Work
    stream: Stream
    share: Share

    @property
    def images(self) -> int:
        """About how many images pass through."""
        total = len(self.stream.order)
        return max(
            min(numbers.stop * size, total) - numbers.start * size if numbers else 0
            for numbers, size in (
                (self.share.chunks, self.stream.chunk),
                (self.share.batches, self.work[0][0].config.batch_size),
            )
        )


def run(
    subjects: Sequence[Subject],
    images: Images,
    finished: Callable[[Subject, Mode, Condition], bool],
    on_progress: Callable[[Progress], None] = lambda progress: None,
    settings: Settings | None = None,
) -> Iterator[tuple[Condition, list[tuple[Subject, list[Result]]]]]:
    """Count every unfinished cell, condition by condition; yields each condition when it is complete.

    All subjects share the config that concerns images and corruptions, and so each corrupted chunk. With
    several processes, each of them yields every result.
    """
    settings = settings or Settings()
    processes, room = settings.processes, settings.room
    todo = [
        (condition, tuple((s, m) for s in subjects for m in s.modes if not finished(s, m, condition)))
        for condition in images.conditions
    ]
    todo = [(condition, work) for condition, work in todo if work]
    while todo:
        parts = processes.agree(lambda: _deal(todo, images, processes))  # noqa: B023 – called at once
        todo = todo[len(parts) :]
        counted = processes.agree(lambda: _count_window(parts, settings, on_progress))  # noqa: B023
        room.parts = max(processes.gather(room.parts))
        for part, tasks in zip(parts, counted, strict=True):
            results = [(task.subject, task.result(part.condition, processes)) for task in tasks]
            owners = list({id(subject): subject for subject, _ in part.work}.values())
            yield part.condition, [(s, [r for owner, r in results if owner is s]) for s in owners]


def _deal(todo: Sequence[tuple[Condition, Work]], images: Images, processes: Processes) -> list[_Part]:
    """The next conditions and this process's part of each."""
    subject = todo[0][1][0][0]
    device, config = subject.classifier.device, subject.config

    def stream(condition: Condition) -> Stream:
        return Stream(
            images.of(condition), condition, config, device, seed=config.seed, corrupted=images.precomputed
        )

    first = stream(todo[0][0])
    modes = [mode for _, work in todo for _, mode in work]
    chunks = first.chunk_count if not all(mode.needs_batch for mode in modes) else 0
    batches = -(-len(first.order) // config.batch_size) if any(mode.needs_batch for mode in modes) else 0
    # Stores of a precomputed set are opened one by one, and may differ in what could be read.
    count = 1 if images.precomputed else window(chunks, batches, processes.world, len(todo))
    dealt = shares(chunks, batches, count, processes.rank, processes.world)
    streams = [first, *(stream(condition) for condition, _ in todo[1:count])]
    return [
        _Part(*one, *two) for one, two in zip(todo[:count], zip(streams, dealt, strict=True), strict=True)
    ]


def _count_window(
    parts: Sequence[_Part], settings: Settings, on_progress: Callable[[Progress], None]
) -> list[list[Task]]:
    whole = sum(part.images for part in parts)
    total = len(parts[0].stream.order)
    passed = 0

    def report(part: _Part, images: int) -> None:
        nonlocal passed
        passed += images
        seen = min(1.0, passed / max(1, whole)) * total * len(parts)
        on_progress(Progress(part.condition, round(seen), total))

    return [_count(part, settings, report) for part in parts]


@torch.inference_mode()
def _count(part: _Part, settings: Settings, report: Callable[[_Part, int], None]) -> list[Task]:
    stream, share, room = part.stream, part.share, settings.room
    total, size = len(stream.order), part.work[0][0].config.batch_size
    batches = -(-total // size)
    tasks = [
        Task.start(subject, mode, room, batches if mode.needs_batch else stream.chunk_count, total)
        for subject, mode in part.work
    ]
    apart = [task for task in tasks if not task.mode.needs_batch and share.chunks]
    together = [task for task in tasks if task.mode.needs_batch and share.batches]
    for task in apart:
        if task.mode.kind == "adapt":
            task.adapt(_pixels(stream, stream.order[: task.mode.n], room))
    batched = range(share.batches.start * size, min(share.batches.stop * size, total) if together else 0)
    waiting, row = Waiting(size), share.batches.start
    for number, start in enumerate(range(0, total, stream.chunk)):
        stop = min(start + stream.chunk, total)
        low, high = max(start, batched.start), min(stop, batched.stop)
        alone = apart and number in share.chunks
        if not alone:
            start, stop = low, high
        if start >= stop:
            continue
        chunk = _chunk(stream, stream.order[start:stop], room)
        if alone:
            for task in apart:
                task.count(number, *chunk)
        if low < high:
            waiting.add(*(tensor[low - start : high - start] for tensor in chunk))
            row = _count_batches(together, waiting, row)
        if settings.bounded:
            stream.release()
        report(part, stop - start)
    if waiting.images:
        # A short last batch is completed from the start of the order; the fillers are not counted.
        counted = waiting.images
        for positions in stream.fillers(size - counted):
            waiting.add(*_chunk(stream, positions, room))
        _count_batches(together, waiting, row, counted)
    return tasks


def _chunk(stream: Stream, positions: np.ndarray, room: Room) -> tuple[Tensor, Tensor, Tensor]:
    return _pixels(stream, positions, room), stream.labels(positions), stream.indices(positions)


def _pixels(stream: Stream, positions: np.ndarray, room: Room) -> Tensor:
    pieces = in_pieces(stream.pixels, positions, room)
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _count_batches(tasks: Sequence[Task], waiting: Waiting, row: int, counted: int | None = None) -> int:
    """Count every complete batch; returns the number of the next one."""
    for pixels, labels, positions in waiting.batches():
        for task in tasks:
            task.count(row, pixels, labels, positions, counted)
        row += 1
    return row
