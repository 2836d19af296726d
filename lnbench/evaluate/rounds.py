"""A run in rounds: every condition is counted on one block of the order before the next block begins.

So the first figures are there after a few hundred images, and a run can end as soon as they are known well
enough. Blocks begin and end on the grids of chunks and batches (`loop`), so that all blocks together are the
run without rounds, sum by sum. A finished block is kept; what is lost by an interruption is the blocks in
flight. Images whose answers depend on all that came before them have no blocks: a stream is counted whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch

from lnbench import metrics
from lnbench.config import RunConfig
from lnbench.data.order import SHUFFLED
from lnbench.errors import DataError, RecordError, UsageError
from lnbench.evaluate import count, loop, record
from lnbench.evaluate.count import Result
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.stream import chunk_size
from lnbench.norm.modes.registry import Mode, parse
from lnbench.results import schema
from lnbench.results.blocks import Part, make
from lnbench.results.common import restricted
from lnbench.results.correct import from_cells
from lnbench.results.gate import Gate, judge
from lnbench.results.schema import Record, Rounds
from lnbench.results.store import RunFolder, make_record
from lnbench.results.unsaved import Unsaved
from lnbench.results.until import Target, known
from lnbench.types import Condition

_FIRST = 500  # images of the first round, at least
_GROWTH = 4  # a round is a quarter of what was counted before it
Folder = RunFolder | Unsaved
CellKey = tuple[int, str, Condition]  # a subject's number, mode, condition
Results = list[tuple[Subject, list[Result]]]
Counted = Callable[[Condition, Results, list[tuple[Subject, list[schema.Cell]]], bool], None]


@dataclass(frozen=True)
class Against:
    """A baseline that is compared with after each round: `judge(base, new, …)` until all is decided."""

    judge: Callable[[Record], Gate]


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


def check(config: RunConfig) -> None:
    """UsageError where a run of this config cannot be cut into rounds, with the reason."""
    streams = [str(mode) for mode in map(parse, config.modes) if mode.unit == "stream"]
    if streams:
        raise UsageError(
            f"--rounds, --until and --against: {streams[0]} learns along the stream, so that a part of its "
            "images says nothing of the others; evaluate it whole"
        )
    for name, wrong in (
        ("--order " + config.order, config.order != SHUFFLED),
        ("--mixed", config.mixed),
        ("--shard", config.shard is not None),
        ("--shift", bool(config.shifts)),
    ):
        if wrong:
            raise UsageError(
                f"--rounds, --until and --against do not go with {name}: a round is a random sample of the "
                "images, the same under every condition"
            )


def ends(images: int, unit: int) -> list[int]:
    """Where the rounds of a set end: multiples of `unit`, each round a quarter of what came before it."""
    found: list[int] = []
    while not found or found[-1] < images:
        last = found[-1] if found else 0
        step = max(_FIRST - last, last // _GROWTH, unit)
        found.append(min(images, last + -(-step // unit) * unit))
    return found


def unit_of(subjects: Sequence[Subject], images: Images) -> int:
    """The images that chunks and batches both divide. UsageError where a round of them would be all."""
    config, store = subjects[0].config, images.clean
    units = {mode.unit for subject in subjects for mode in subject.modes}
    chunk = chunk_size(subjects[0].classifier.device, *store.images.shape[2:])
    sizes = ([chunk] if "image" in units else []) + ([config.batch_size] if "batch" in units else [])
    found, total = math.lcm(*sizes), len(store.labels)
    if len(sizes) > 1 and found > max(total // 4, _FIRST) and found > max(sizes):
        raise UsageError(
            f"a round must hold whole batches of {config.batch_size} and whole chunks of {chunk} images, so "
            f"{found} at least, of {total}: use --batch-size {_fitting(config.batch_size, chunk)}"
        )
    return found


def _fitting(size: int, chunk: int) -> int:
    """The batch size nearest to one asked for that chunks divide, or that divides them."""
    near = [n for n in range(1, 2 * size + 1) if n % chunk == 0 or chunk % n == 0]
    return min(near, key=lambda n: abs(n - size))


@dataclass
class Course:
    """Rounds of one evaluation: what is counted of each cell, in every process; folders in the first.

    `progress`: images counted and sums, float64 (SIZE,), by cell; `dropped`: cells without a result.
    """

    subjects: Sequence[Subject]
    images: Images
    folders: Sequence[Folder]
    asked: Asked
    ends: list[int]
    progress: dict[CellKey, tuple[int, torch.Tensor]]
    dropped: set[CellKey] = field(default_factory=set)
    why: str | None = None

    def drop(self, subject: Subject, mode: str, condition: Condition) -> None:
        """This cell has no result, and will have none."""
        self.dropped.add((self._number(subject), mode, condition))

    def _number(self, subject: Subject) -> int:
        return next(number for number, one in enumerate(self.subjects) if one is subject)

    def run(
        self,
        finished: loop.Finished,
        on_progress: Callable[[loop.Progress], None],
        settings: loop.Settings,
        counted: Counted,
    ) -> Iterator[tuple[Condition, list[tuple[Subject, list[Result]]]]]:
        """Count round after round until what was asked for is known; yields cells that are complete.

        `counted` hears of a condition's cells so far, after each of its blocks, and whether it is the first.
        """
        processes = settings.processes
        for start, stop in pairwise([0, *self.ends]):
            if start and (why := processes.broadcast(self._reason(start) if processes.first else None)):
                self.why = why
                return

            def through(subject: Subject, mode: Mode, condition: Condition, stop: int = stop) -> bool:
                key = (self._number(subject), str(mode), condition)
                done = key in self.dropped or self.progress.get(key, (0, None))[0] >= stop
                return done or finished(subject, mode, condition)

            def before(subject: Subject, mode: Mode, condition: Condition) -> torch.Tensor | None:
                return self.progress.get((self._number(subject), str(mode), condition), (0, None))[1]

            block = loop.Block(range(start, stop), before)
            for condition, results in loop.run(
                self.subjects, self.images, through, on_progress, settings, block
            ):
                self._note(condition, results, stop)
                # B023: called at once.
                kept = processes.barrier(lambda: self._keep(condition, results, block.span))  # noqa: B023
                so_far = self._so_far(condition, results)
                counted(condition, so_far, kept, start == 0)
                if stop == self.ends[-1]:
                    yield condition, so_far

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
            folder.blocks.append([
                make((str(r.mode), condition), span, _sums(r), r.seconds, r.counts, r.correct[order])
                for r in own
            ])  # fmt: skip
            cells = [self._cell(number, r.mode, condition, span.stop) for r in own]
            kept.append((subject, [cell for cell in cells if cell is not None]))
        return kept

    @property
    def _order(self) -> np.ndarray:
        from lnbench.data.batches import shuffled

        return shuffled(len(self.images.clean.labels), self.subjects[0].config.seed)

    def _so_far(
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
                    if key not in self.dropped and (str(mode), condition) not in done:
                        least = min(least, self.progress.get(key, (0, None))[0])
        return least

    def early(self, number: int, images: int, why: str) -> tuple[list[schema.Cell], Rounds]:
        """One subject's cells on the first `images` of the order, and why there are no more."""
        subject = self.subjects[number]
        cells = [
            cell
            for mode in subject.modes
            for condition in self.images.conditions
            if (cell := self._cell(number, mode, condition, images)) is not None
        ]
        return cells, Rounds(images=images, of=self.ends[-1], why=why)

    def record(self, number: int, images: int, why: str) -> Record:
        """One subject's record of the first `images`."""
        cells, rounds = self.early(number, images, why)
        return make_record(self.folders[number].run, cells, rounds)

    def _reason(self, images: int) -> str | None:
        """Why no further round is needed, None where one is."""
        asked = self.asked
        if not asked.targets and asked.against is None:
            return None
        if self.through() < images:
            return None
        reasons = []
        for number in range(len(self.subjects)):
            found = self.record(number, images, "")
            assert found.rounds is not None
            if asked.targets:
                if not known(asked.targets, found.summary, found.cells, found.run, found.rounds):
                    return None
                reasons.append("known to ± " + ", ".join(f"{t.text}" for t in asked.targets) + " points")
            if asked.against is not None:
                if not asked.against.judge(found).decided:
                    return None
                reasons.append("decided against the baseline")
        return "; ".join(dict.fromkeys(reasons))


def begin(subjects: Sequence[Subject], images: Images, folders: Sequence[Folder], asked: Asked) -> Course:
    """Rounds for these subjects, going on with what their folders hold.

    RecordError where blocks there are of another grid, UsageError where there can be no rounds.
    """
    for subject in subjects:
        check(subject.config)
    if images.precomputed and images.clean.skipped:
        raise UsageError("--rounds: some stored images cannot be read, so conditions may hold different ones")
    found = ends(len(images.clean.labels), unit_of(subjects, images))
    progress: dict[CellKey, tuple[int, torch.Tensor]] = {}
    for number, folder in enumerate(folders):
        for mode, condition in folder.run.suite.keys:
            parts = folder.blocks.parts((mode, condition))
            if any(part.stop not in found for part in parts):
                raise RecordError(
                    f"{folder.path} holds blocks that fit other chunks or batches than those of this device: go "
                    "on where they were counted, or give --fresh"
                )
            if parts:
                progress[number, mode, condition] = parts[-1].stop, torch.from_numpy(parts[-1].sums.copy())
    return Course(subjects, images, folders, asked, found, progress)


def against(base: Record, bits: object, margin: float) -> Against:
    """A comparison with a baseline, image by image."""

    def found(new: Record) -> Gate:
        return judge(base, new, bits, from_cells(new.cells), margin)  # type: ignore[arg-type]

    return Against(found)


def _sums(result: Result) -> np.ndarray:
    assert result.sums is not None
    return result.sums.numpy()


def _result(subject: Subject, mode: Mode, condition: Condition, part: Part, order: np.ndarray) -> Result:
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
