"""The loop: every condition is corrupted once, every mode counts it, nothing waits for the device.

Two grids lie over one stream of corrupted chunks. Modes in which an image's prediction does not depend on
its company take the chunks as they come, always cut at the same places, so that their counts do not know
the batch size. Modes in which it does take batches of exactly `batch_size` images, re-cut from the same
stream. Both follow one order.

Where what is learned is kept from condition to condition (`--sequence continual`), the sequence of corrupted
conditions belongs to one process, and nothing is kept of an unfinished one but its finished cells: it is
computed again from its start. Clean images are no part of it.

Several processes share both grids, each computing a run of either; a mode that adapts along the stream is
counted whole by one of them. An image is corrupted once; twice only where its chunk, its batch and its
stream belong to different processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from lnbench.dist import ALONE, Processes
from lnbench.evaluate.count import Pieces, Result, Task, in_pieces, standing
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.rebatch import Rebatch
from lnbench.evaluate.shard import Load, Part, parts, whole_streams, window
from lnbench.evaluate.stream import Stream
from lnbench.norm.modes.registry import Mode
from lnbench.norm.state import State
from lnbench.types import Condition, reference

Work = tuple[tuple[Subject, Mode], ...]
Finished = Callable[[Subject, Mode, Condition], bool]
Carried = dict[tuple[int, str], State]  # by subject and mode


@dataclass(frozen=True)
class Progress:
    """How far a condition is, or the mixed stream of all (None): images through, of all its images."""

    condition: Condition | None
    images: int
    total: int


@dataclass(frozen=True)
class Settings:
    """How to compute, as far as it changes no figure.

    `pieces` learns when device memory ran short.
    `stopped` is told of each cell without a result, and why, by every process.
    """

    processes: Processes = ALONE
    pieces: Pieces = field(default_factory=Pieces)
    stopped: Callable[[Subject, Condition, str], None] = lambda subject, condition, why: None

    def with_result(self, condition: Condition, tasks: Sequence[Task]) -> list[Task]:
        """The tasks that have a result; the others are told of."""
        found = standing(tasks, self.processes)
        for task in tasks:
            if task.stopped is not None:
                self.stopped(task.subject, condition, task.stopped)
        return found


@dataclass(frozen=True)
class Stretch:
    """A part of the order that is counted by itself, after what comes before it.

    `span` begins and ends on both grids, or with the order. `before`: the sums of a cell up to there.
    """

    span: range
    before: Callable[[Subject, Mode, Condition], Tensor | None]


@dataclass(frozen=True)
class _Job:
    """What one process has to do for one condition: its part of `span`, numbered from there."""

    condition: Condition
    work: Work
    stream: Stream
    seen_first: Callable[[Mode], Stream]  # of what a mode looks at before the first batch
    part: Part
    carried: Carried | None  # None where every condition starts afresh
    span: range

    @property
    def batch_size(self) -> int:
        return self.work[0][0].config.batch_size

    @property
    def images(self) -> int:
        """About how many images pass through."""
        total = len(self.span)
        whole = total if self.part.streams else 0
        return max(whole, *(
            min(numbers.stop * size, total) - numbers.start * size if numbers else 0
            for numbers, size in ((self.part.chunks, self.stream.chunk), (self.part.batches, self.batch_size))
        ))  # fmt: skip


def run(
    subjects: Sequence[Subject],
    images: Images,
    finished: Finished,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    settings: Settings | None = None,
    block: Stretch | None = None,
) -> Iterator[tuple[Condition, list[tuple[Subject, list[Result]]]]]:
    """Count every unfinished cell, condition by condition; yields each condition when it is complete.

    With a `block`, that part of every condition; none of the modes may be of unit `stream`. All subjects
    share the config that concerns images and corruptions, and so each corrupted chunk. With several
    processes, each of them yields every result.
    """
    settings = settings or Settings()
    processes, pieces = settings.processes, settings.pieces
    left = todo(subjects, images, finished)
    carried: Carried = {}
    while left:
        # B023: called at once.
        jobs = processes.barrier(lambda: _jobs(left, images, processes, carried, block))  # noqa: B023
        left = left[len(jobs) :]
        counted = processes.barrier(lambda: _count_window(jobs, settings, on_progress))  # noqa: B023
        pieces.count = max(processes.gather(pieces.count))
        for job, tasks in zip(jobs, counted, strict=True):
            stored = images.precomputed and job.condition.corruption not in images.shifts
            store = job.stream.store if stored else None
            results = [
                (
                    task.subject,
                    replace(
                        task.result(job.condition, processes, job.stream.order, _before(block, task, job)),
                        store=store,
                    ),
                )
                for task in settings.with_result(job.condition, tasks)
                if not finished(task.subject, task.mode, job.condition)
            ]
            if results:
                yield job.condition, by_subject(results)


def _before(block: Stretch | None, task: Task, job: _Job) -> Tensor | None:
    return None if block is None else block.before(task.subject, task.mode, job.condition)


def by_subject(results: Sequence[tuple[Subject, Result]]) -> list[tuple[Subject, list[Result]]]:
    """The results of each subject, in the order of the first."""
    owners = list({id(subject): subject for subject, _ in results}.values())
    return [(s, [result for owner, result in results if owner is s]) for s in owners]


def todo(subjects: Sequence[Subject], images: Images, finished: Finished) -> list[tuple[Condition, Work]]:
    """What is left to count here; of a sequence that is not finished, all of it."""
    config = subjects[0].config
    continual = config.sequence == "continual"

    def due(subject: Subject, mode: Mode, condition: Condition) -> bool:
        if config.mixed and mode.unit != "image" and condition.is_corrupted:
            return False  # `mixed` counts it
        if not continual or mode.unit != "stream" or not condition.is_corrupted:
            return not finished(subject, mode, condition)
        return any(not finished(subject, mode, other) for other in images.conditions if other.is_corrupted)

    work = {c: tuple((s, m) for s in subjects for m in s.modes if due(s, m, c)) for c in images.conditions}
    return [(condition, own) for condition, own in work.items() if own]


def _jobs(
    todo: Sequence[tuple[Condition, Work]],
    images: Images,
    processes: Processes,
    carried: Carried,
    block: Stretch | None,
) -> list[_Job]:
    """The next conditions and this process's part of each."""
    subject = todo[0][1][0][0]
    device, config = subject.classifier.device, subject.config

    def stream(condition: Condition) -> Stream:
        return Stream(
            images.of(condition), condition, config, device, seed=config.seed, corrupted=images.precomputed
        )

    first = stream(todo[0][0])
    units = {mode.unit for _, work in todo for _, mode in work if not mode.is_whole}
    continual = config.sequence == "continual"
    most = max(sum(mode.is_whole for _, mode in work) for _, work in todo)
    span = _span(first, block)
    load = Load(
        chunks=-(-len(span) // first.chunk) if "image" in units else 0,
        batches=-(-len(span) // config.batch_size) if "batch" in units else 0,
        streams=0 if continual else most,
    )
    # Stores of a precomputed set are opened one by one, and may differ in what could be read; those of shifts
    # differ in any case.
    alike = [] if images.precomputed else list(takewhile(lambda one: images.of(one[0]) is first.store, todo))
    count = window(load, processes.world, len(alike)) if alike else 1
    streams = [first, *(stream(condition) for condition, _ in todo[1:count])]
    own = parts(load, count, processes.rank, processes.world)
    if continual:
        own = [p._replace(streams=whole_streams(most, processes.rank, processes.world)) for p in own]
    return [
        _Job(
            condition,
            work,
            stream,
            partial(_seen_first, stream, images),
            part,
            carried if continual and condition.is_corrupted else None,
            _span(stream, block),
        )
        for (condition, work), stream, part in zip(todo[:count], streams, own, strict=True)
    ]


def _span(stream: Stream, block: Stretch | None) -> range:
    return range(len(stream.order)) if block is None else block.span


def _seen_first(stream: Stream, images: Images, mode: Mode) -> Stream:
    """What a mode looks at before the first batch: images of the stream, corrupted or not, or other ones.

    Those that are not corrupted are beside a shift the clean ones of its classes.
    """
    if mode.source is not None:
        return stream.uncorrupted(images.sources[mode.source, mode.images])
    if not mode.is_begun_clean:
        return stream
    name = stream.condition.corruption
    if name not in stream.suite.shifts:
        return stream.uncorrupted()
    return stream.uncorrupted(images.shifts.get(reference(name).corruption, images.clean))


def _count_window(
    jobs: Sequence[_Job], settings: Settings, on_progress: Callable[[Progress], None]
) -> list[list[Task]]:
    passed = dict.fromkeys((job.condition for job in jobs), 0)

    def report(job: _Job, images: int) -> None:
        passed[job.condition] += images
        share = min(1.0, passed[job.condition] / max(1, job.images))
        seen = job.span.start + round(share * len(job.span))
        on_progress(Progress(job.condition, seen, len(job.stream.order)))

    return [_count(job, settings, report) for job in jobs]


@dataclass
class _Lane:
    """Tasks that take batches: of the images in `span` of the order, the first being batch number `row`.

    `complete`: whether a short last batch is completed from the start of the order.
    """

    tasks: Sequence[Task]
    span: range
    row: int
    waiting: Rebatch
    complete: bool = True

    def take(self, chunk: Sequence[Tensor]) -> None:
        """Count every batch that is complete with these pixels, labels and positions."""
        self.waiting.add(*chunk)
        for batch in self.waiting.batches():
            self._count(batch)

    def finish(self, stream: Stream, pieces: Pieces) -> None:
        """Count a short last batch, as it is or completed from the start of the order."""
        counted = self.waiting.images
        if not counted:
            return
        for positions in stream.fillers(self.waiting.size - counted) if self.complete else ():
            self.waiting.add(*_chunk(stream, positions, pieces))
        self._count(self.waiting.rest(), counted)

    def _count(self, batch: Sequence[Tensor], counted: int | None = None) -> None:
        pixels, labels, positions = batch
        for task in self.tasks:
            task.count(self.row, pixels, labels, positions, counted)
        self.row += 1


# Not inference_mode: a mode may take gradient steps on what it keeps.
@torch.no_grad()
def _count(job: _Job, settings: Settings, report: Callable[[_Job, int], None]) -> list[Task]:
    stream, part, pieces, size = job.stream, job.part, settings.pieces, job.batch_size
    first, last, count = job.span.start, job.span.stop, len(job.span)
    for subject in {id(subject): subject for subject, _ in job.work}.values():
        subject.answer(job.condition)
    chunks = -(-count // stream.chunk)
    tasks = [_start(job, s, mode, pieces, chunks) for s, mode in job.work]
    apart = [task for task in tasks if task.mode.unit == "image"] if part.chunks else []
    lanes = _lanes(tasks, part, size, job.span)
    for task in (*apart, *(task for lane in lanes for task in lane.tasks)):
        task.begin(partial(_drawn, job.seen_first(task.mode), pieces))
    for number, start in enumerate(range(first, last, stream.chunk)):
        stop = min(start + stream.chunk, last)
        alone = apart and number in part.chunks
        spans = [range(max(start, lane.span.start), min(stop, lane.span.stop)) for lane in lanes]
        wanted = [span for span in (*spans, range(start, stop if alone else start)) if span]
        if not wanted:
            continue
        low, high = min(span.start for span in wanted), max(span.stop for span in wanted)
        chunk = _chunk(stream, stream.order[low:high], pieces)
        stream.expect(high)
        if alone:
            for task in apart:
                task.count(number, *chunk)
        for lane, span in zip(lanes, spans, strict=True):
            if span:
                lane.take([tensor[span.start - low : span.stop - low] for tensor in chunk])
        report(job, high - low)
    for lane in lanes:
        lane.finish(stream, pieces)
    for task in tasks:
        task.close()
    return tasks


def _lanes(tasks: Sequence[Task], part: Part, size: int, span: range) -> list[_Lane]:
    """This process's tasks that take batches: those of the run's `size` in its part of them, others whole."""
    dealt = [task for task in tasks if task.mode.unit == "batch" and not task.mode.is_whole]
    own = range(span.start + part.batches.start * size, min(span.start + part.batches.stop * size, span.stop))
    lanes = [_Lane(dealt, own, part.batches.start, Rebatch(size))] if dealt and part.batches else []
    whole = [task for task in tasks if task.mode.is_whole][slice(part.streams.start, part.streams.stop)]
    for unit, each in dict.fromkeys((task.mode.unit, task.batch_size) for task in whole):
        alike = [task for task in whole if (task.mode.unit, task.batch_size) == (unit, each)]
        lanes.append(_Lane(alike, span, 0, Rebatch(each), complete=unit == "batch"))
    return lanes


def _start(job: _Job, subject: Subject, mode: Mode, pieces: Pieces, chunks: int) -> Task:
    """A task that goes on where the condition before left its mode, or starts afresh."""
    rows = chunks if mode.unit == "image" else -(-len(job.span) // mode.batch_size(job.batch_size))
    images = len(job.stream.order)
    if job.carried is None or mode.unit != "stream":
        return Task.start(subject, mode, pieces, rows, images, columns=subject.columns_under(job.condition))
    key = id(subject), str(mode)
    task = Task.start(subject, mode, pieces, rows, images, job.carried.get(key), subject.columns)
    job.carried[key] = task.state
    return task


def _chunk(stream: Stream, positions: np.ndarray, pieces: Pieces) -> tuple[Tensor, Tensor, Tensor]:
    return _pixels(stream, positions, pieces), stream.labels(positions), stream.indices(positions)


def _drawn(stream: Stream, pieces: Pieces, count: int, number: int) -> Tensor:
    return _pixels(stream, stream.drawn(count, number), pieces)


def _pixels(stream: Stream, positions: np.ndarray, pieces: Pieces) -> Tensor:
    found = in_pieces(stream.pixels, positions, pieces)
    return found[0] if len(found) == 1 else torch.cat(found)
