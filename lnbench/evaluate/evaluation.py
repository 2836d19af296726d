"""One evaluation from configs to records: prepare, open the run folders, count, keep every finished cell."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lnbench.config import RunConfig, parse_shard
from lnbench.data.store import Decoding, Store
from lnbench.dist import ALONE, Processes
from lnbench.errors import CheckpointError, DataError, LnbenchError, ModelError, RecordError, UsageError
from lnbench.evaluate import (
    batch,
    compiling,
    doubts,
    examine,
    keep,
    loop,
    mixed,
    prepare,
    preprocessing,
    record,
    rounds,
    shard,
    shifts,
    sources,
    supply,
)
from lnbench.evaluate.footprint import Footprint
from lnbench.evaluate.plan import Key, Plan, plan
from lnbench.evaluate.prepare import Given, Images, Subject
from lnbench.hashing import Indices
from lnbench.memory import room_for_images, touch
from lnbench.norm.modes.registry import Mode
from lnbench.results import header, schema
from lnbench.types import Condition

# The cells of each subject, the first one's first.
Kept = Sequence[tuple[Subject, Sequence[schema.Cell]]]


@dataclass(frozen=True)
class Observer:
    """What the caller wants to hear. Every function may do nothing.

    `started` gets the cells that an earlier call has finished, `finished` those of a condition, in the first
    process alone: cells of one mode and condition that come again take the place of those before.
    """

    decoding: Callable[[int, int], None] = lambda done, total: None
    header: Callable[[str], None] = lambda text: None
    started: Callable[[Plan, Kept], None] = lambda plan, cells: None
    progress: Callable[[loop.Progress], None] = lambda progress: None
    counted: Callable[[Condition, Kept], None] = lambda condition, cells: None
    rounded: Callable[[str], None] = lambda text: None
    finished: Callable[[Condition, Kept], None] = lambda condition, cells: None
    warning: Callable[[str], None] = lambda text: None
    measured: bool = False  # whether the plan is to say how long it takes


@dataclass(frozen=True)
class Outcome:
    """A finished record and where it lies, if anywhere. `labels`, `ids`: int64 (N,) in store order."""

    record: schema.Record
    folder: Path | None
    labels: Indices
    ids: Indices


@dataclass(frozen=True)
class Prepared:
    """Subjects that share one dataset, geometry and suite. `failed`: why others could not be prepared."""

    subjects: tuple[Subject, ...]
    images: Images
    failed: tuple[LnbenchError, ...] = ()
    batch: batch.Fit | None = None

    @property
    def footprints(self) -> Mapping[Key, Footprint]:
        """What passes take of memory, as far as it is known."""
        return {} if self.batch is None else self.batch.footprints


def prepare_all(
    configs: Sequence[RunConfig],
    *,
    cache: Path | None = None,
    scratch: Path | None = None,
    memory: int | None = None,
    store: supply.Wanted = "auto",
    allow_pickle: bool = False,
    strict: bool = True,
    observer: Observer | None = None,
    processes: Processes = ALONE,
    given: Given = Given(),
) -> Prepared:
    """Load every checkpoint, decode the images, check that they fit each other.

    The configs may differ in model, weights, input normalization and modes alone. Not `strict`, a
    checkpoint that cannot be used is left out with a warning as long as another can.

    Decoded images go to `cache`. Without it, they go to a file under `scratch` when they are too many for
    `memory`, the bytes that this machine's processes may hold in all (half of it where None), and when
    several processes of this machine can share them there. A network or images that are `given` stand in
    for those of the config. Raises LnbenchError.

    `store`: where images lie while they are counted: `device`, on the GPU; `host`, in memory, whatever
    `memory` says; `file`; `auto`: on the GPU where they take at most half of what is free there.
    """
    observer = observer or Observer()
    if store == "host" and cache is not None:
        raise UsageError("--store host: --cache keeps images in a file; leave one of them out")

    def work() -> Prepared:
        subjects, failed = _load(configs, allow_pickle, strict, processes, given)
        decoding = _decoding(subjects[0], store, cache, scratch, memory, observer, processes)
        images = prepare.open_images(configs[0], decoding, given)
        if configs[0].shifts:
            images = shifts.open_shifts(configs[0], decoding, images)
        ready, warnings = _check(subjects, failed, strict, images)
        if configs[0].shifts:
            images = shifts.with_references(ready, images)
            for subject in ready:
                shifts.check_sizes(subject, images)
                warnings += [f"{subject.name}: {note}" for note in shifts.notes(subject, images)]
        images = sources.open_sources(ready, decoding, images)
        device = subjects[0].classifier.device
        images = supply.placed(images, device, store, processes.sharing(device))
        if configs[0].shard is not None:
            part = shard.conditions_of(len(images.conditions), *parse_shard(configs[0].shard))
            images = replace(images, conditions=tuple(images.conditions[k] for k in part))
        said = "batch_size" in configs[0].model_fields_set
        fitted = batch.fit(ready, images.clean, said=said, bound=memory, processes=processes.sharing(device))
        warnings += [*fitted.warnings, *([fitted.note] if fitted.note else [])]
        for text in (*(f"left out: {error}" for error in failed), *images.notes, *warnings):
            observer.warning(text)
        return Prepared(ready, images, tuple(failed), fitted)

    found = _with_batches(processes.barrier(work), processes)
    _refuse_other_files(found, processes)
    return found


def _decoding(
    subject: Subject,
    store: supply.Wanted,
    cache: Path | None,
    scratch: Path | None,
    memory: int | None,
    observer: Observer,
    processes: Processes,
) -> Decoding:
    """The subject's geometry, and from how many bytes on decoded images go to a file of which folder."""
    place, above = cache, 0
    if cache is None and scratch is not None:
        place, above = scratch, room_for_images(memory, processes.local_world)
        above = {"host": sys.maxsize, "file": 1}.get(store, above)
    return Decoding(subject.geometry, cache=place, cache_above=above, on_progress=observer.decoding)


def _refuse_other_files(prepared: Prepared, processes: Processes) -> None:
    """RecordError where another process read other images, weights or code."""
    images, subjects = prepared.images, prepared.subjects
    stores = (images.clean, *images.shifts.values(), *images.sources.values())
    own = [
        (
            [store.fingerprint for store in stores],
            [(one.sha256, one.code, one.state) for one in subjects],
        )
    ]
    for rank, other in enumerate(processes.gather(own)):
        if other != own:
            raise RecordError(
                f"process {rank} reads other images, checkpoints or code than process {processes.rank}: "
                "every machine needs the same files"
            )


def _with_batches(prepared: Prepared, processes: Processes) -> Prepared:
    """Batches of one size in all processes, the smallest that any of them chose; what its modes say of it."""
    fitted = prepared.batch
    sizes = processes.gather((fitted.size, fitted.note) if fitted else (sys.maxsize, None))
    least, note = min(sizes, key=lambda each: each[0])
    if all(subject.config.batch_size == least for subject in prepared.subjects):
        return prepared
    subjects = batch.sized(prepared.subjects, least, note)
    for subject in subjects:
        for _ in prepare.check_fit(subject, prepared.images.clean, clean=not prepared.images.precomputed):
            continue
    return replace(prepared, subjects=subjects)


def _load(
    configs: Sequence[RunConfig], allow_pickle: bool, strict: bool, processes: Processes, given: Given
) -> tuple[list[Subject], list[LnbenchError]]:
    device = processes.device(configs[0].device)
    failed: list[LnbenchError] = []
    subjects: list[Subject] = []
    for config in configs:
        with _forgiving(failed, strict):
            subject = prepare.load_subject(config, device, allow_pickle, given)
            if subjects and subject.geometry != subjects[0].geometry:
                raise ModelError(
                    f"{subject.name} and {subjects[0].name} take images of different geometry; "
                    "evaluate them one at a time, or give --resize and --crop for both"
                )
            subjects.append(subject)
    if not subjects:
        raise failed[0]
    return subjects, failed


def _check(
    subjects: Sequence[Subject], failed: list[LnbenchError], strict: bool, images: Images
) -> tuple[tuple[Subject, ...], list[str]]:
    """The subjects that fit the images, settled, and what should be said of them."""
    ready: list[Subject] = []
    warnings: list[str] = []
    for subject in subjects:
        with _forgiving(failed, strict):
            settled = replace(
                subject,
                config=prepare.settle(subject.config, images.clean),
                classes=subject.classifier.classes(*images.clean.images.shape[2:]),
            )
            settled = shifts.match(prepare.match(settled, images.clean), images)
            misfits = list(prepare.check_fit(settled, images.clean, clean=not images.precomputed))
            settled = replace(settled, notes=examine.examine(settled, images.clean))
            warnings += [
                *misfits,
                *(f"{settled.name}: {note}" for note in settled.notes),
                *preprocessing.check_preprocessing(settled, images.clean),
            ]
            ready.append(settled)
    if not ready:
        raise failed[0]
    return tuple(ready), warnings


@contextlib.contextmanager
def _forgiving(failed: list[LnbenchError], strict: bool) -> Iterator[None]:
    """Note what is wrong with one checkpoint and go on; a wrong option is wrong for all of them."""
    try:
        yield
    except (CheckpointError, ModelError, DataError) as error:
        if strict:
            raise
        failed.append(error)


def evaluate(
    prepared: Prepared,
    folders: Sequence[Path | None],
    *,
    fresh: bool = False,
    command: str = "",
    compile: compiling.Wanted = "auto",
    sheet: Callable[[RunConfig, Images], bytes | None] = lambda config, images: None,
    observer: Observer | None = None,
    processes: Processes = ALONE,
    asked: rounds.Asked | None = None,
) -> list[Outcome]:
    """Count every cell that is not yet finished; each subject writes its own run folder, or none.

    In rounds where that is `asked`, or the folder holds blocks; interrupted after the first, this process
    being alone, it raises `rounds.Interrupted` with what is known by then. `compile`: whether networks are
    compiled, see `compiling`. `sheet` draws the contact sheet of the report, a PNG, or has none.

    Interrupted at any moment, at most the conditions in flight are lost; called again, with any number of
    processes, it goes on. The first process alone reads and writes the folders and has an outcome.
    """
    observer = observer or Observer()
    subjects, images = prepared.subjects, prepared.images
    runs = [record.run(subject, images, command, processes.world) for subject in subjects]
    with contextlib.ExitStack() as stack:
        opened = keep.open_folders(stack, folders, runs, fresh=fresh, processes=processes)
        kept = keep.Folders(subjects, images, opened, processes)
        course = rounds.begin(subjects, images, opened, asked, processes)
        for run in runs:
            observer.header(header.line(run))
        foretold = _foretell(prepared, kept, course, observer, processes)
        sure = 1.0 if course is None else course.sure(kept.hold)
        for number, texts in _compiled(prepared, foretold, sure, compile, processes).items():
            for text in texts:
                kept.note(subjects[number], text)
        told = set[str]()

        def stopped(subject: Subject, condition: Condition, why: str) -> None:
            text = f"{condition}: {why}; the cell is left out"
            processes.barrier(lambda: kept.note(subject, text))
            observer.warning(text)

        def doubt(condition: Condition, results: rounds.Results) -> None:
            for text in doubts.of(condition, results, told):
                observer.warning(text)

        def so_far(condition: Condition, results: rounds.Results, cells: Kept, first: bool) -> None:
            if first:
                doubt(condition, results)
            observer.counted(condition, cells)

        settings = loop.Settings(processes, stopped=stopped)
        if course is not None:
            counted = course.run(kept.hold, observer.progress, settings, so_far, observer.rounded)
        else:
            counted = _counted(prepared, kept.hold, observer.progress, settings)
        for condition, results in rounds.interruptible(counted, course, processes):
            cells = processes.barrier(partial(kept.keep, condition, results, settings.pieces.count))
            if course is None:
                doubt(condition, results)
            observer.finished(condition, cells)

        outcomes = processes.barrier(partial(_outcomes, prepared, opened, course, sheet))
        if course is not None and course.interrupt is not None:
            raise rounds.Interrupted(outcomes) from course.interrupt
        return outcomes


def _foretell(
    prepared: Prepared,
    kept: keep.Folders,
    course: rounds.Schedule | None,
    observer: Observer,
    processes: Processes,
) -> Plan:
    """Tell what is there and what is left, measured where the first process's observer asks for it.

    The memory that this will take is taken.
    """
    measured = processes.broadcast(observer.measured)

    def work() -> Plan:
        return plan(
            prepared.subjects, prepared.images, kept.done, measure=measured, footprints=prepared.footprints,
            processes=processes.world, begun=None if course is None else course.begun,
            may_end=course is not None and course.may_end,
        )  # fmt: skip

    foretold = processes.barrier(work)
    if foretold.memory is not None and foretold.memory.device == "cpu":
        touch(foretold.memory.work, processes.local_world)
    observer.started(foretold, kept.cells)
    return foretold


def _counted(
    prepared: Prepared,
    finished: loop.Finished,
    on_progress: Callable[[loop.Progress], None],
    settings: loop.Settings,
) -> Iterator[tuple[Condition, rounds.Results]]:
    """Each condition's results without rounds, those of the mixed stream last."""
    yield from loop.run(prepared.subjects, prepared.images, finished, on_progress, settings)
    if prepared.subjects[0].config.mixed:
        yield from mixed.run(prepared.subjects, prepared.images, finished, on_progress, settings)


def _outcomes(
    prepared: Prepared,
    opened: Sequence[keep.Folder],
    course: rounds.Schedule | None,
    sheet: Callable[[RunConfig, Images], bytes | None],
) -> list[Outcome]:
    """Write what stands at the end of each run into its folder."""
    drawn = sheet(prepared.subjects[0].config, prepared.images) if opened else None
    return [
        _outcome(folder, prepared.images.clean, drawn, None if course is None else course.early(number))
        for number, folder in enumerate(opened)
    ]


def _outcome(folder: keep.Folder, clean: Store, sheet: bytes | None, early: rounds.Early | None) -> Outcome:
    """What is known of one subject: all of it, or of a run in rounds that ended early, what it counted."""
    if early is None:
        record = folder.finish(labels=clean.labels, ids=clean.ids, sheet=sheet)
        return Outcome(record, folder.path, clean.labels, clean.ids)
    labels, ids = clean.labels[early.positions], clean.ids[early.positions]
    record = folder.finish(labels=labels, ids=ids, sheet=sheet, early=(early.cells, early.rounds))
    return Outcome(record, folder.path, labels, ids)


def _compiled(
    prepared: Prepared, foretold: Plan, sure: float, wanted: compiling.Wanted, processes: Processes
) -> dict[int, list[str]]:
    """Compile where it pays for the `sure` share of what is left; what the records should say of it."""
    place = {id(subject): number for number, subject in enumerate(prepared.subjects)}

    def left(subject: Subject, mode: Mode) -> int:
        return round(sure * foretold.passes.get((place[id(subject)], str(mode)), 0) / processes.world)

    return compiling.settle(prepared.subjects, prepared.images, left, wanted, processes)
