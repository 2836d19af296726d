"""All corrupted conditions as one stream (`--mixed`): batches hold images of many, each has its own cell.

The stream holds every image once under every corrupted condition, in one order of all of them. Modes in
which an image's prediction depends on nothing but itself have nothing to mix, and clean images stay apart:
both are counted by `loop`. A mixed stream is counted whole by one process; where it was interrupted, it is
counted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lnbench.data import order as orders
from lnbench.data.batches import drawn
from lnbench.evaluate.count import Pieces, Result, Stopwatch, Task, in_pieces
from lnbench.evaluate.loop import Finished, Progress, Settings, Work, by_subject
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.rebatch import Rebatch
from lnbench.evaluate.shard import whole_streams
from lnbench.evaluate.stream import Stream
from lnbench.norm.modes.registry import Mode
from lnbench.types import Condition


class Mixture:
    """Streams of several conditions as one; positions count through all of them, one after another."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = streams
        sizes = [len(stream.order) for stream in streams]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        labels = np.concatenate([stream.store.labels for stream in streams])
        first = streams[0]
        self.order = orders.arrange(orders.parse(first.suite.order), labels, first.seed)

    def drawn(self, count: int, number: int) -> np.ndarray:
        """Positions of `count` images, none twice: draw `number`."""
        return drawn(len(self.order), count, self.streams[0].seed, Condition("mixed", 1), number)

    def split(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Each condition that is there: its number, which positions are its own, and of which images."""
        owner = np.searchsorted(self.starts, positions, side="right") - 1
        for number in np.unique(owner):
            (places,) = np.nonzero(owner == number)
            yield int(number), places, positions[places] - self.starts[number]

    def pixels(self, positions: np.ndarray, pieces: Pieces) -> Tensor:
        """The images, each under its own condition: uint8 (B, 3, H, W) on the device."""
        places, parts = [], []
        for number, own, images in self.split(positions):
            places.append(own)
            parts += in_pieces(self.streams[number].pixels, images, pieces)
        back = self.streams[0].indices(np.argsort(np.concatenate(places), kind="stable"))
        return torch.cat(parts)[back]

    def order_of(self, number: int) -> np.ndarray:
        """The images of one condition in the order in which the stream meets them."""
        own = self.order[(self.order >= self.starts[number]) & (self.order < self.starts[number + 1])]
        found: np.ndarray = own - self.starts[number]
        return found


def todo(subjects: Sequence[Subject], images: Images, finished: Finished) -> Work:
    """The modes of which not every condition is counted."""
    return tuple(
        (s, m)
        for s in subjects
        for m in s.modes
        if m.unit != "image" and not all(finished(s, m, c) for c in images.conditions if c.is_corrupted)
    )


def run(
    subjects: Sequence[Subject],
    images: Images,
    finished: Finished,
    on_progress: Callable[[Progress], None],
    settings: Settings,
) -> Iterator[tuple[Condition, list[tuple[Subject, list[Result]]]]]:
    """Count the unfinished cells of the mixed stream; yields each condition when the whole is counted."""
    conditions = [condition for condition in images.conditions if condition.is_corrupted]
    if not (work := todo(subjects, images, finished)):
        return
    subject, processes = subjects[0], settings.processes

    def count() -> tuple[Mixture, list[list[Task]]]:
        mixture = Mixture([
            Stream(images.of(condition), condition, subject.config, subject.classifier.device,
                   seed=subject.config.seed, corrupted=images.precomputed)
            for condition in conditions
        ])  # fmt: skip
        mine = whole_streams(len(work), processes.rank, processes.world)
        return mixture, _count(mixture, images, work, mine, settings, on_progress)

    for one in subjects:
        one.answer(conditions[0])
    mixture, tasks = processes.barrier(count)
    batches = -(-len(mixture.order) // subject.config.batch_size)
    for number, condition in enumerate(conditions):
        order = mixture.order_of(number)
        store = mixture.streams[number].store if images.precomputed else None
        results = [
            (task.subject, replace(task.result(condition, processes, order), batches=batches, store=store))
            for task in settings.with_result(condition, [own[number] for own in tasks])
            if not finished(task.subject, task.mode, condition)
        ]
        if results:
            yield condition, by_subject(results)


def _drawn(mixture: Mixture, images: Images, mode: Mode, pieces: Pieces, count: int, number: int) -> Tensor:
    """The images that a mode looks at first."""
    if not mode.is_begun_clean:
        return mixture.pixels(mixture.drawn(count, number), pieces)
    other = None if mode.source is None else images.sources[mode.source, mode.images]
    stream = mixture.streams[0].uncorrupted(other)
    return torch.cat(in_pieces(stream.pixels, stream.drawn(count, number), pieces))


@torch.no_grad()
def _count(
    mixture: Mixture,
    images: Images,
    work: Work,
    mine: range,
    settings: Settings,
    on_progress: Callable[[Progress], None],
) -> list[list[Task]]:
    """A task for each mode and condition; those of the modes that are not `mine` stay empty."""
    pieces, streams, size = settings.pieces, mixture.streams, work[0][0].config.batch_size
    tasks = [
        [Task.start(s, m, pieces, 1, len(stream.order), columns=s.columns) for stream in streams]
        for s, m in work
    ]
    leads = {number: Task.start(*work[number], pieces, 0, 0) for number in mine}
    for lead in leads.values():
        lead.begin(partial(_drawn, mixture, images, lead.mode, pieces))
    waiting, row, total = Rebatch(size), 0, len(mixture.order)
    for start in range(0, total if leads else 0, streams[0].chunk):
        waiting.add(mixture.pixels(mixture.order[start : start + streams[0].chunk], pieces))
        for (pixels,) in waiting.batches():
            _count_batch(mixture, leads, tasks, row, pixels, mixture.order[row * size :][:size])
            row += 1
        through = min(total, start + streams[0].chunk)
        on_progress(Progress(None, through, total))
    if waiting.images:
        (pixels,) = waiting.rest()
        positions = mixture.order[row * size :]
        short = {n: lead for n, lead in leads.items() if lead.mode.unit == "stream"}
        _count_batch(mixture, short, tasks, row, pixels, positions)
        whole = {n: lead for n, lead in leads.items() if n not in short}
        if whole:  # completed from the start of the order
            filled = torch.cat([pixels, mixture.pixels(mixture.order[: size - len(pixels)], pieces)])
            _count_batch(mixture, whole, tasks, row, filled, positions)
    for number, lead in leads.items():
        _share(lead, tasks[number], total)
    return tasks


def _count_batch(
    mixture: Mixture,
    leads: dict[int, Task],
    tasks: list[list[Task]],
    row: int,
    pixels: Tensor,
    positions: np.ndarray,
) -> None:
    """One batch through every mode, the predictions for `positions` dealt to their conditions."""
    at = mixture.streams[0].indices(positions)
    for number, lead in leads.items():
        prediction = lead.predict(row, pixels, at)
        if prediction is None:
            for task in tasks[number]:
                task.stopped = lead.stopped
            continue
        for condition, places, images in mixture.split(positions):
            stream = mixture.streams[condition]
            own = stream.indices(places)
            part = type(prediction)(*(values[own] for values in prediction))
            tasks[number][condition].tally(0, part, stream.labels(images), stream.indices(images))


def _share(lead: Task, own: Sequence[Task], total: int) -> None:
    """Give each condition's task its share of the time, and what is true of the whole stream."""
    lead.close()
    seconds = lead.watch.seconds()
    for task in own:
        task.watch = Stopwatch(lead.watch.device, seconds * len(task.correct) / total)
        task.noted, task.forgot = lead.noted, lead.forgot
