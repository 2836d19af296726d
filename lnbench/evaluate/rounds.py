"""A run in rounds: every condition is counted on one block of the order before the next block begins.

So the first figures are there after a few hundred images, and a run can end as soon as they are known well
enough. Blocks begin and end on the grids of chunks and batches (`loop`), so that all blocks together are the
run without rounds, sum by sum. A finished block is kept; what is lost by an interruption is the blocks in
flight. Images whose answers depend on all that came before them have no blocks: a stream is counted whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from lnbench import metrics
from lnbench.dist import Processes
from lnbench.errors import DataError, RecordError
from lnbench.evaluate import count, cut, loop, record
from lnbench.evaluate.count import Result
from lnbench.evaluate.plan import Begun, CellKey
from lnbench.evaluate.prepare import Images, Subject
from lnbench.norm.modes.registry import Mode
from lnbench.results import schema
from lnbench.results.blocks import Counted, make
from lnbench.results.common import restricted
from lnbench.results.correct import Correct, from_cells
from lnbench.results.gate import Gate, judge
from lnbench.results.pairing import find_mismatches
from lnbench.results.schema import Record, Rounds
from lnbench.results.store import RunFolder, make_record
from lnbench.results.unsaved import Unsaved
from lnbench.results.until import Target, known, sentence
from lnbench.results.until import check as check_targets
from lnbench.types import Condition

Folder = RunFolder | Unsaved
Progress = dict[CellKey, tuple[int, torch.Tensor]]  # images counted, sums
Results = list[tuple[Subject, list[Result]]]
Heard = Callable[[Condition, Results, list[tuple[Subject, list[schema.Cell]]], bool], None]


@dataclass(frozen=True)
class Against:
    """A baseline that is compared with after each round, until every figure is decided."""

    base: Record
    correct: Correct | None
    margin: float

    def check(self, run: schema.Run) -> None:
        """RecordError where the run that begins does not compare."""
        if mismatches := find_mismatches(self.base, make_record(run, ())):
            raise RecordError(f"this run cannot be compared with the baseline: {'; '.join(mismatches)}")

    def judge(self, new: Record) -> Gate:
        """What is certain by now; cells of `new` carry their bits."""
        return judge(self.base, new, self.correct, from_cells(new.cells), self.margin)


@dataclass(frozen=True)
class Asked:
    """When a run in rounds may end before its last: all targets known, and the comparison decided."""

    targets: tuple[Target, ...] = ()
    against: Against | None = None


class Interrupted(KeyboardInterrupt):
    """A run in rounds was interrupted; `outcomes` are what it knows by then."""

    def __init__(self, outcomes: Sequence[object]) -> None:
        super().__init__()
        self.outcomes = outcomes


class Known(NamedTuple):
    """What a round's figures say, and why no further round is needed, None where one is."""

    said: str
    why: str | None


@dataclass(frozen=True)
class Early:
    """What is known of a subject on some images: cells, and the images' positions, ascending, int64 (n,)."""

    cells: list[schema.Cell]
    rounds: Rounds
    positions: np.ndarray


@dataclass
class Schedule:
    """Rounds of one evaluation: what is counted of each cell, in every process; folders in the first.

    `progress`: images counted and sums, float64 (SIZE,), by cell; `begun`: what was there at the start.
    """

    subjects: Sequence[Subject]
    images: Images
    folders: Sequence[Folder]
    asked: Asked
    ends: list[int]
    progress: Progress
    begun: Mapping[CellKey, Begun]
    why: str | None = None
    interrupt: KeyboardInterrupt | None = None

    def _number(self, subject: Subject) -> int:
        return next(number for number, one in enumerate(self.subjects) if one is subject)

    def run(
        self,
        finished: loop.Finished,
        on_progress: Callable[[loop.Progress], None],
        settings: loop.Settings,
        counted: Heard,
        rounded: Callable[[str], None],
    ) -> Iterator[tuple[Condition, list[tuple[Subject, list[Result]]]]]:
        """Count round after round until what was asked for is known; yields cells that are complete.

        `counted` hears of a condition's cells so far, after each of its blocks, and whether it is the first;
        `rounded` of each round's figures, in words.
        """
        processes = settings.processes
        for start, stop in pairwise([0, *self.ends]):
            so_far = processes.broadcast(self._known(start) if processes.first and start else None)
            if so_far is not None:
                rounded(so_far.said)
                if so_far.why is not None:
                    self.why = so_far.why
                    return

            def through(subject: Subject, mode: Mode, condition: Condition, stop: int = stop) -> bool:
                key = (self._number(subject), str(mode), condition)
                return self.progress.get(key, (0, None))[0] >= stop or finished(subject, mode, condition)

            def before(subject: Subject, mode: Mode, condition: Condition) -> torch.Tensor | None:
                return self.progress.get((self._number(subject), str(mode), condition), (0, None))[1]

            block = loop.Stretch(range(start, stop), before)
            for condition, results in loop.run(
                self.subjects, self.images, through, on_progress, settings, block
            ):
                self._note(condition, results, stop)
                # B023: called at once.
                kept = processes.barrier(lambda: self._keep(condition, results, block.span))  # noqa: B023
                grown = self._all_grown(condition, results)
                counted(condition, grown, kept, start == 0)
                if stop == self.ends[-1]:
                    yield condition, grown

    @property
    def may_end(self) -> bool:
        """Whether it may end before all images are counted."""
        return bool(self.asked.targets) or self.asked.against is not None

    def sure(self, finished: loop.Finished) -> float:
        """The share of what is left that is counted whatever it shows: all, or of what may end, one round."""
        if not self.may_end:
            return 1.0
        now = min(
            (
                self.progress.get((number, str(mode), condition), (0, None))[0]
                for number, subject in enumerate(self.subjects)
                for mode in subject.modes
                for condition in self.images.conditions
                if not finished(subject, mode, condition)
            ),
            default=self.ends[-1],
        )
        following = next((end for end in self.ends if end > now), now)
        return (following - now) / max(1, self.ends[-1] - now)

    def _note(self, condition: Condition, results: Sequence[tuple[Subject, list[Result]]], stop: int) -> None:
        for subject, own in results:
            for result in own:
                assert result.sums is not None
                self.progress[self._number(subject), str(result.mode), condition] = stop, result.sums

    def _keep(
        self, condition: Condition, results: Sequence[tuple[Subject, list[Result]]], span: range
    ) -> list[tuple[Subject, list[schema.Cell]]]:
        """Write the blocks of a condition; its cells so far."""
        kept = []
        for number, (subject, folder) in enumerate(zip(self.subjects, self.folders, strict=False)):
            own = [result for one, found in results if one is subject for result in found]
            for store in (result.store for result in own if result.store is not None):
                if not np.array_equal(store.ids, self.images.clean.ids):
                    raise DataError(f"--rounds: {condition} holds other images than the first condition")
            order = self._order[span.start : span.stop]
            size = subject.config.batch_size
            folder.blocks.append([
                make(
                    (str(r.mode), condition), span, _sums(r), r.seconds, r.counts, r.correct[order],
                    None if r.mode.unit == "image" else size,
                )
                for r in own
            ])  # fmt: skip
            cells = [self._cell(number, r.mode, condition, span.stop) for r in own]
            kept.append((subject, [cell for cell in cells if cell is not None]))
        return kept

    @property
    def _order(self) -> np.ndarray:
        from lnbench.data.batches import shuffled

        return shuffled(len(self.images.clean.labels), self.subjects[0].config.seed)

    def _all_grown(
        self, condition: Condition, results: Sequence[tuple[Subject, list[Result]]]
    ) -> list[tuple[Subject, list[Result]]]:
        """The cells up to their last blocks, in place of those; where nothing is kept, the blocks."""
        return [
            (subject, [self._grown(subject, result, condition) for result in own]) for subject, own in results
        ]

    def _grown(self, subject: Subject, result: Result, condition: Condition) -> Result:
        number = self._number(subject)
        if number >= len(self.folders):
            return result
        part = self.folders[number].blocks.parts((str(result.mode), condition))[-1]
        return replace(_result(subject, result.mode, condition, part, self._order), store=result.store)

    def _cell(self, number: int, mode: Mode, condition: Condition, images: int) -> schema.Cell | None:
        """One cell on the first `images` of the order, where it is known there."""
        folder, subject = self.folders[number], self.subjects[number]
        parts = folder.blocks.parts((str(mode), condition))
        part = next((part for part in parts if part.stop == images), None)
        if part is not None:
            found = _result(subject, mode, condition, part, self._order)
            cell = record.cell(subject, found, self.images.clean)
            return cell.model_copy(update={"draws": None}) if mode.draws > 1 else cell
        whole = next((cell for cell in folder.cells if cell.key == (str(mode), condition)), None)
        if whole is None or whole.correct is None:
            return None
        flags = from_cells([whole]).flags[whole.key]
        return restricted(whole, flags[np.sort(self._order[:images])])

    def through(self) -> int:
        """How many images every cell is counted on by now; 0 where one is not begun."""
        least = self.ends[-1]
        for number, subject in enumerate(self.subjects):
            done = self.folders[number].finished()
            for mode in subject.modes:
                for condition in self.images.conditions:
                    key = (number, str(mode), condition)
                    if (str(mode), condition) not in done:
                        least = min(least, self.progress.get(key, (0, None))[0])
        return least

    def early(self, number: int) -> Early | None:
        """What is known of one subject, None where all is."""
        if self.why is None:
            return None
        images = self.through()
        rounds = Rounds(images=images, of=self.ends[-1], why=self.why)
        return Early(self._cells(number, images), rounds, np.sort(self._order[:images]))

    def _cells(self, number: int, images: int) -> list[schema.Cell]:
        """One subject's cells on the first `images` of the order."""
        subject = self.subjects[number]
        return [
            cell
            for mode in subject.modes
            for condition in self.images.conditions
            if (cell := self._cell(number, mode, condition, images)) is not None
        ]

    def _known(self, images: int) -> Known | None:
        """What is known once all cells count so many images; None before that, and where more is known."""
        if self.through() != images:
            return None
        rounds = Rounds(images=images, of=self.ends[-1], why="")
        found = [
            make_record(folder.run, self._cells(number, images), rounds)
            for number, folder in enumerate(self.folders)
        ]
        said = [
            sentence(one, subject.name if len(found) > 1 else "")
            for one, subject in zip(found, self.subjects, strict=True)
        ]
        return Known("; ".join(said), self._reason(found, rounds))

    def _reason(self, found: Sequence[Record], rounds: Rounds) -> str | None:
        asked = self.asked
        reasons = []
        if asked.targets:
            if not all(known(asked.targets, one.summary, one.cells, one.run, rounds) for one in found):
                return None
            reasons.append("known to ± " + ", ".join(target.text for target in asked.targets) + " points")
        if asked.against is not None:
            if not all(asked.against.judge(one).decided for one in found):
                return None
            reasons.append("decided against the baseline")
        return "; ".join(reasons) or None


def begin(
    subjects: Sequence[Subject],
    images: Images,
    folders: Sequence[Folder],
    asked: Asked | None,
    processes: Processes,
) -> Schedule | None:
    """Rounds for these subjects, going on with what their folders hold; None where neither asks for any.

    RecordError where blocks there are of another grid, UsageError where there can be no rounds.
    """
    if not processes.broadcast(asked is not None or any(folder.blocks for folder in folders)):
        return None
    asked = asked or Asked()
    for subject in subjects:
        cut.check(subject.config)
    found = cut.ends(len(images.clean.labels), cut.unit_of(subjects, images))

    def read() -> tuple[Progress, dict[CellKey, Begun]]:
        progress: Progress = {}
        begun: dict[CellKey, Begun] = {}
        for number, folder in enumerate(folders):
            check_targets(asked.targets, folder.run)
            if asked.against is not None:
                asked.against.check(folder.run)
            for mode, condition in folder.run.suite.keys:
                parts = folder.blocks.parts((mode, condition))
                if any(part.stop not in found for part in parts):
                    raise RecordError(
                        f"{folder.path} holds blocks that fit other chunks than those of this device: go on "
                        "where they were counted, or give --fresh"
                    )
                if parts:
                    progress[number, mode, condition] = parts[-1].stop, torch.from_numpy(parts[-1].sums)
                    begun[number, mode, condition] = Begun(parts[-1].stop, parts[-1].seconds)
        return progress, begun

    return Schedule(subjects, images, folders, asked, found, *processes.broadcast(processes.barrier(read)))


def interruptible(
    counted: Iterator[tuple[Condition, Results]], course: Schedule | None, processes: Processes
) -> Iterator[tuple[Condition, Results]]:
    """The same, but that rounds end when they are interrupted once something is known, in one process."""
    try:
        yield from counted
    except KeyboardInterrupt as interrupt:
        if course is None or processes.world > 1 or not course.through():
            raise
        course.why, course.interrupt = "interrupted", interrupt


def _sums(result: Result) -> np.ndarray:
    assert result.sums is not None
    return result.sums.numpy()


def _result(subject: Subject, mode: Mode, condition: Condition, part: Counted, order: np.ndarray) -> Result:
    """A cell on the first images of the order: as `count.Task` gives it, flags in the order of the store."""
    first = order[: part.stop]
    correct = np.zeros(len(order), bool)
    correct[first] = part.flags
    kept = np.sort(first)
    whole = Result(
        mode=mode,
        condition=condition,
        scores=metrics.scores(torch.from_numpy(part.sums.copy())),
        correct=correct[kept],
        seconds=part.seconds,
        counts=dict(part.counts),
    )
    if mode.unit == "image":
        return whole
    batches = -(-part.stop // subject.config.batch_size)
    return replace(whole, tenths=count.tenths(part.flags, np.arange(part.stop)), batches=batches)
