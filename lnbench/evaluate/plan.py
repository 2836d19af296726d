"""What a run is going to do, what it will take and hold, said before it does it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lnbench.data.store import Store
from lnbench.evaluate import loop, mixed
from lnbench.evaluate.footprint import Footprint, footprint
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.stream import Stream, chunk_size
from lnbench.evaluate.trial import Speed, corrupting, speed
from lnbench.files import counted
from lnbench.memory import freed, held, most_held, present
from lnbench.norm.modes.registry import Mode
from lnbench.types import CLEAN, Condition

Key = tuple[int, str]  # a subject's number and its mode
CellKey = tuple[int, str, Condition]

# What drawing a report's plots takes at the end, when all else is still held.
_REPORT = 25 * 2.0**20
_HOME = {"cpu": "host", "cuda": "device"}  # where images are that take a device's memory
_PLACES = {"device": "on the device", "host": "of memory", "file": "in a file"}
_SHARE = 0.01  # of the run's own time, for trying corruptions


@dataclass(frozen=True)
class Step:
    """A condition, or all corrupted ones as one stream where None, and what it takes.

    `seconds` of each mode, `rest` for all that is done once for all of them (corruption, reading); where they
    are not measured, forward passes. `lumps`: the size of a mode's batches, 1 where it counts chunks. In
    rounds, `begun` of the images are counted in every mode already, and took `spent` seconds; `seconds` and
    `rest` are those of the others.
    """

    condition: Condition | None
    images: int
    seconds: Mapping[Key, float]
    rest: float = 0.0
    lumps: Mapping[Key, int] = field(default_factory=dict)
    begun: int = 0
    spent: Mapping[Key, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Images that are still to be counted in some mode."""
        return self.images - self.begun


class Begun(NamedTuple):
    """What rounds counted of a cell that is not finished: the order's first images, in so many seconds."""

    images: int
    seconds: float


_NOTHING = Begun(0, 0.0)


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment: `peak` of the whole process, and its parts.

    `program`: interpreter, libraries and networks, as they are now; `store`: decoded images in memory;
    `work`: of the pass that takes most, named by `what`; `room`: what the device, or the machine, has.
    """

    peak: float
    program: float
    store: float
    work: float
    what: str
    room: float
    device: str


@dataclass(frozen=True)
class Plan:
    """What a run will do: sizes known before the first condition.

    `steps` are what is left, in order; `measured`: whether they are in seconds, of one process of `world`.
    `passes`: of images through the network, for each mode that is left, over all processes.
    `may_end`: whether it may end before all is counted.
    """

    subjects: tuple[Subject, ...]
    modes: tuple[Key, ...]
    conditions: tuple[Condition, ...]
    conditions_left: int
    cells: int
    cells_left: int
    images: int
    passes: Mapping[Key, int]
    store_bytes: int
    store_place: str  # device, host or file
    steps: tuple[Step, ...]
    measured: bool = False
    memory: Memory | None = None
    world: int = 1
    may_end: bool = False

    def label(self, key: Key) -> str:
        """The name of a mode, with its network's where there are several."""
        return key[1] if len(self.subjects) == 1 else f"{self.subjects[key[0]].name} · {key[1]}"

    @property
    def forwards(self) -> int:
        """Passes of images through the networks."""
        return sum(self.passes.values())

    @property
    def seconds(self) -> float | None:
        """How long it will take; None where that was not measured."""
        if not self.measured:
            return None
        return sum(step.rest + sum(step.seconds.values()) for step in self.steps) / self.world


def plan(
    subjects: Sequence[Subject],
    images: Images,
    finished: Sequence[Collection[tuple[str, Condition]]] = (),
    *,
    measure: bool = True,
    footprints: Mapping[Key, Footprint] | None = None,
    processes: int = 1,
    begun: Mapping[CellKey, Begun] | None = None,
    may_end: bool = False,
) -> Plan:
    """What there is to do; `finished` cells of each subject are left out, and of others what is `begun`.

    With `measure`, a few passes of each mode and a few chunks of each corruption are timed, a hundredth of
    the run or so. `footprints`: those that are known already.
    """
    device = subjects[0].classifier.device
    before = held(device) - freed(device)  # of decoding and checks
    number = {id(subject): place for place, subject in enumerate(subjects)}
    done = {id(s): own for s, own in zip(subjects, finished or [()] * len(subjects), strict=True)}

    def is_finished(subject: Subject, mode: Mode, condition: Condition) -> bool:
        return (str(mode), condition) in done[id(subject)]

    def tasks(work: loop.Work) -> list[_Task]:
        return [_Task((number[id(subject)], str(mode)), subject, mode) for subject, mode in work]

    work: list[_Job] = [(c, tasks(own)) for c, own in loop.todo(subjects, images, is_finished)]
    if subjects[0].config.mixed and (blend := mixed.todo(subjects, images, is_finished)):
        work.append((None, tasks(blend)))
    speeds: dict[Key, Speed] = {}
    for task in _distinct(work) if measure else ():
        clean = _stream(task.subject, images, CLEAN)
        speeds[task.key] = speed(task.subject, task.mode, clean, len(images.conditions))
    begun = begun or {}

    cells = [(c, s, m) for s in subjects for m in s.modes for c in images.conditions]
    left = [(c, s, m) for c, s, m in cells if not is_finished(s, m, c)]
    passes: dict[Key, int] = {}
    for condition, subject, mode in left:
        key = number[id(subject)], str(mode)
        known = begun.get((*key, condition), _NOTHING).images
        own = _passes(images.count(condition) - known, subject, mode)
        passes[key] = passes.get(key, 0) + own
    return Plan(
        subjects=tuple(subjects),
        modes=tuple((place, str(mode)) for place, s in enumerate(subjects) for mode in s.modes),
        conditions=images.conditions,
        conditions_left=len({condition for condition, _, _ in left}),
        cells=len(cells),
        cells_left=len(left),
        images=len(images.clean.labels),
        passes=passes,
        store_bytes=images.clean.images.nbytes,
        store_place=images.clean.place,
        steps=tuple(_steps(work, images, speeds, begun)),
        measured=measure,
        memory=_memory(_distinct(work), images, footprints or {}, before) if speeds else None,
        world=processes,
        may_end=may_end,
    )


class _Task(NamedTuple):
    """A mode of a subject."""

    key: Key
    subject: Subject
    mode: Mode


_Job = tuple[Condition | None, list[_Task]]


def _distinct(work: Sequence[_Job]) -> list[_Task]:
    """Each mode that is left, once."""
    return list({task.key: task for _, own in work for task in own}.values())


def _passes(images: int, subject: Subject, mode: Mode) -> int:
    return images * mode.passes(subject.layers.groups) + mode.images


def _stream(subject: Subject, images: Images, condition: Condition) -> Stream:
    """A stream to try things on: of the images at hand, corrupted where that is computed."""
    store = images.shifts.get(condition.corruption, images.clean)
    device, config = subject.classifier.device, subject.config
    return Stream(store, condition, config, device, seed=config.seed, corrupted=images.precomputed)


def _steps(
    work: Sequence[_Job], images: Images, speeds: Mapping[Key, Speed], begun: Mapping[CellKey, Begun]
) -> Iterator[Step]:
    corrupted = [condition for condition in images.conditions if condition.is_corrupted]
    costs = _costs(work, images, corrupted, speeds)
    for condition, own in work:
        members = corrupted if condition is None else [condition]
        count = sum(images.count(member) for member in members)
        looked = sum(
            task.mode.images * task.mode.draws
            for task in own
            if not task.mode.is_begun_clean and not task.mode.source
        )
        parts = {task.key: _begun(begun, task.key, condition) for task in own}
        least = min(part.images for part in parts.values())
        rest = sum((images.count(c) - least + looked / len(members)) * costs.get(c, 0.0) for c in members)
        seconds = {}
        for key, subject, mode in own:
            known, left = speeds.get(key), count - parts[key].images
            passes = float(_passes(left, subject, mode))
            seconds[key] = passes if known is None else left * known.image + known.begin
        sizes = {key: m.batch_size(s.config.batch_size) for key, s, m in own if m.unit != "image"}
        opening = images.opening * len(members) if speeds else 0.0
        spent = {key: part.seconds for key, part in parts.items() if part.images}
        yield Step(condition, count, seconds, rest + opening, sizes, least, spent)


def _begun(begun: Mapping[CellKey, Begun], key: Key, condition: Condition | None) -> Begun:
    return _NOTHING if condition is None else begun.get((*key, condition), _NOTHING)


def _costs(
    work: Sequence[_Job], images: Images, corrupted: Sequence[Condition], speeds: Mapping[Key, Speed]
) -> Mapping[Condition, float]:
    """Seconds for each image under each condition that is computed."""
    asked = [condition for condition in corrupted if any(one in (condition, None) for one, _ in work)]
    if not speeds or images.precomputed or not asked:
        return {}
    subject = work[0][1][0].subject
    counted = sum(images.count(c or CLEAN) * speeds[task.key].image for c, own in work for task in own)
    return corrupting(lambda condition: _stream(subject, images, condition), asked, _SHARE * counted)


def _memory(
    tasks: Sequence[_Task],
    images: Images,
    known: Mapping[Key, Footprint],
    before: float,
) -> Memory | None:
    """The pass that takes most beside what is there already."""
    device, store = tasks[0].subject.classifier.device, images.clean
    largest: tuple[float, str] | None = None
    for key, subject, mode in tasks:
        found = known.get(key) or footprint(subject, mode, store)
        if found is None:
            continue
        count, what = pass_of(subject, mode, store)
        if largest is None or found.taken(count) > largest[0]:
            largest = found.taken(count), what
    if largest is None:
        return None
    work, what = largest
    stored = float(store.images.nbytes) if store.place == _HOME[device.type] else 0.0
    peak = max(before + work, most_held(device)) + (_REPORT if device.type == "cpu" else 0.0)
    return Memory(peak, before - stored, stored, work, what, present(device), device.type)


def pass_of(subject: Subject, mode: Mode, store: Store) -> tuple[int, str]:
    """The images of a mode's largest pass, and what to call it."""
    if mode.unit == "image":
        chunk = chunk_size(subject.classifier.device, *store.images.shape[2:])
        count, what = min(len(store.labels), chunk), "chunk"
    else:
        count, what = mode.batch_size(subject.config.batch_size), "batch"
    if not mode.is_learning:  # those look at their images part by part
        count = max(count, mode.images)
    gradients = ", with gradients" if mode.is_learning else ""
    return count, f"{what} of {count} in {mode}{gradients}"


def sentences(plan: Plan) -> list[str]:
    """The plan for a person, a line for each thing."""
    conditions, cells = counted(len(plan.conditions), "condition"), counted(plan.cells, "cell")
    sizes = f"{conditions}, {cells}, {counted(plan.images, 'image')}"
    stored = f"images take {size(plan.store_bytes)} {_PLACES[plan.store_place]}"
    found = [f"{sizes}, {counted(plan.forwards, 'forward pass', 'forward passes')}; {stored}"]
    if plan.cells_left < plan.cells:
        found.append(
            f"{plan.cells - plan.cells_left} of {cells} {'is' if plan.cells == 1 else 'are'} finished already"
            + ("" if plan.cells_left else ": nothing is left to compute")
        )
    if plan.steps and (least := min(step.begun for step in plan.steps)):
        found.append(f"{least:,} of {counted(plan.images, 'image')} are counted already")
    if plan.seconds is not None and plan.steps:
        parts = {"corruption": sum(step.rest for step in plan.steps)}
        for key in plan.modes:
            parts[plan.label(key)] = sum(step.seconds.get(key, 0.0) for step in plan.steps)
        shares = ", ".join(f"{what} {clock(value / plan.world)}" for what, value in parts.items() if value)
        most = "at most " if plan.may_end else ""
        found.append(f"{most}about {clock(plan.seconds)}: {shares}")
    if (memory := plan.memory) is not None:
        whose = "this machine's" if memory.device == "cpu" else "the GPU's"
        parts = {"program": memory.program, "images": memory.store, memory.what: memory.work}
        shares = ", ".join(f"{what} {size(value)}" for what, value in parts.items() if value)
        found.append(f"memory at peak: about {size(memory.peak)} of {whose} {size(memory.room)} ({shares})")
    return found


def clock(seconds: float) -> str:
    """A duration as a clock shows it: 75 → 1:15, 7,384 → 2:03:04."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def size(count: float) -> str:
    """Bytes for people: 700 MiB, 1.4 GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
