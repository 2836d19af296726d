"""One evaluation from configs to records: prepare, open the run folders, count, keep every finished cell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from pydantic import JsonValue

from lnbench import engine, prepare
from lnbench.config import RunConfig
from lnbench.data.store import Store
from lnbench.errors import UsageError
from lnbench.norm.modes import Mode
from lnbench.prepare import Images, Subject
from lnbench.results import schema
from lnbench.results.bits import pack
from lnbench.results.store import RunFolder
from lnbench.types import Condition


@dataclass(frozen=True)
class Observer:
    """What the caller wants to hear. Every function may do nothing."""

    decoding: Callable[[int, int], None] = lambda done, total: None
    started: Callable[[Plan], None] = lambda plan: None
    progress: Callable[[engine.Progress], None] = lambda progress: None
    finished: Callable[[Condition], None] = lambda condition: None
    warning: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Plan:
    """What a run will do: sizes known before the first condition."""

    subjects: tuple[str, ...]
    conditions: int
    conditions_left: int
    cells: int
    cells_left: int
    images: int
    forwards: int
    store_bytes: int


@dataclass(frozen=True)
class Outcome:
    """A finished record and where it lies."""

    record: schema.Record
    folder: Path


@dataclass(frozen=True)
class Prepared:
    """Subjects that share one dataset, geometry and suite."""

    subjects: tuple[Subject, ...]
    images: Images


def prepare_all(
    configs: Sequence[RunConfig],
    *,
    cache: Path | None = None,
    allow_pickle: bool = False,
    observer: Observer | None = None,
) -> Prepared:
    """Load every checkpoint, decode the images, check that they fit each other.

    The configs may differ in model, weights and modes alone. Raises LnbenchError.
    """
    observer = observer or Observer()
    device = prepare.device_of(configs[0].device)
    if device.type == "cuda":
        # Convolutions in TF32 differ from float32 by more than a severity step on some networks.
        torch.backends.cudnn.allow_tf32 = False
    subjects = [prepare.load_subject(config, device, allow_pickle) for config in configs]
    for subject in subjects[1:]:
        if subject.geometry != subjects[0].geometry:
            raise UsageError(
                f"{subject.name} and {subjects[0].name} take images of different geometry; "
                "evaluate them one at a time, or give --resize and --crop for both"
            )
    images = prepare.open_images(configs[0], subjects[0].geometry, cache, observer.decoding)
    ready = []
    for subject in subjects:
        ready.append(replace(subject, config=prepare.settle(subject.config, images.clean)))
        for text in (
            *subject.warnings,
            *prepare.check_fit(ready[-1], images.clean),
            *prepare.check_input(ready[-1], images.clean),
        ):
            observer.warning(text)
    return Prepared(tuple(ready), images)


def plan(prepared: Prepared, folders: Sequence[RunFolder] = ()) -> Plan:
    """Count what there is to do, what is done already left out."""
    conditions = prepared.images.conditions
    images = len(prepared.images.clean.labels)
    done = [folder.finished() for folder in folders] or [frozenset() for _ in prepared.subjects]
    left = [
        (condition, subject, mode)
        for subject, finished in zip(prepared.subjects, done, strict=True)
        for condition in conditions
        for mode in subject.modes
        if (str(mode), condition) not in finished
    ]
    passes = sum(
        images * len(engine.swap.passes(subject.layers, mode)) + (mode.n if mode.kind == "adapt" else 0)
        for _, subject, mode in left
    )
    return Plan(
        subjects=tuple(subject.name for subject in prepared.subjects),
        conditions=len(conditions),
        conditions_left=len({condition for condition, _, _ in left}),
        cells=len(conditions) * sum(len(subject.modes) for subject in prepared.subjects),
        cells_left=len(left),
        images=images,
        forwards=passes,
        store_bytes=prepared.images.clean.images.nbytes,
    )


def evaluate(
    prepared: Prepared,
    folders: Sequence[Path],
    *,
    fresh: bool = False,
    command: str = "",
    observer: Observer | None = None,
) -> list[Outcome]:
    """Count every cell that is not yet finished; each subject writes its own run folder.

    Interrupted at any moment, at most the condition in flight is lost; called again, it goes on.
    """
    observer = observer or Observer()
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(
                RunFolder.create_or_resume(folder, _run(subject, prepared.images, command), fresh=fresh)
            )
            for subject, folder in zip(prepared.subjects, folders, strict=True)
        ]
        by_subject = {id(s): folder for s, folder in zip(prepared.subjects, opened, strict=True)}

        def finished(subject: Subject, mode: Mode, condition: Condition) -> bool:
            return (str(mode), condition) in by_subject[id(subject)].finished()

        observer.started(plan(prepared, opened))
        for condition, results in engine.run(prepared.subjects, prepared.images, finished, observer.progress):
            for subject, cells in results:
                by_subject[id(subject)].append([_cell(subject, result) for result in cells])
            for text in _chance_warnings(condition, results, prepared.images.clean):
                observer.warning(text)
            observer.finished(condition)
        clean = prepared.images.clean
        return [Outcome(folder.finish(labels=clean.labels, ids=clean.ids), folder.path) for folder in opened]


def _run(subject: Subject, images: Images, command: str) -> schema.Run:
    """The record's head: what is known before the first cell."""
    config, store = subject.config, images.clean
    device = subject.classifier.device
    names = {
        "mean": list(subject.normalization.mean),
        "std": list(subject.normalization.std),
        "resize": _plain(subject.geometry.resize),
        "crop": _plain(subject.geometry.crop),
        "interpolation": subject.geometry.interpolation,
    }
    return schema.Run(
        command=command,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        config=config.model_dump(mode="json", exclude={"device"}),
        suite=schema.Suite(
            preset=config.preset,
            table=None if images.precomputed else config.table,
            backend="precomputed" if images.precomputed else config.backend,
            seed=config.seed,
            modes=tuple(str(mode) for mode in subject.modes),
            conditions=tuple((c.corruption, c.severity) for c in images.conditions),
            overrides=_overrides(config),
        ),
        model=schema.Model(
            spec=config.model,
            source=subject.source,
            weights=config.weights,
            sha256=subject.sha256,
            norm_layers=len(subject.layers),
            groups=subject.layers.groups,
            parameters=sum(p.numel() for p in subject.classifier.network.parameters()),
            precision=config.precision,
            preprocessing=names,
        ),
        data=schema.Data(
            spec=config.data,
            source=store.source,
            fingerprint=store.fingerprint,
            images=len(store.labels),
            total=store.total,
            classes=store.classes,
            skipped=store.skipped,
        ),
        environment=schema.environment(
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            threads=torch.get_num_threads(),
        ),
        deviations=tuple(_deviations(subject, images)),
    )


def _plain(side: int | tuple[int, int] | None) -> int | list[int] | None:
    return list(side) if isinstance(side, tuple) else side


def _overrides(config: RunConfig) -> dict[str, JsonValue]:
    """Numbers of the preset's own that stand in for the table's."""
    own: dict[str, JsonValue] = {
        name: {f"{severity:g}": list(values) for severity, values in levels.items()}
        for name, levels in config.parameters.items()
    }
    if config.jpeg_roundtrip is not None:
        own["jpeg_roundtrip"] = config.jpeg_roundtrip
    return own


def _deviations(subject: Subject, images: Images) -> Iterator[str]:
    """One sentence for each way this run departs from the plain benchmark."""
    config, store = subject.config, images.clean
    if len(store.labels) + len(store.skipped) < store.total:
        yield f"{len(store.labels)} of {store.total} images (class-balanced subset, seed {config.seed})"
    if store.skipped:
        yield f"{len(store.skipped)} unreadable images left out"
    if any(mode.needs_batch for mode in subject.modes):
        yield f"batch statistics over {config.batch_size} images, seeded shuffle"
    if config.precision != "fp32":
        yield f"computed in {config.precision}"
    if images.precomputed:
        yield "corrupted images as stored, not computed here"
    elif config.corruptions and config.jpeg_roundtrip is None and config.table == "imagenet":
        yield "corrupted in memory; the published ImageNet-C files are JPEG-compressed (quality 85)"
    if config.backend == "reference" and not images.precomputed:
        yield "corruptions computed by the imagecorruptions package"
    if config.parameters:
        yield f"own parameters for {', '.join(sorted(config.parameters))}"


def _cell(subject: Subject, result: engine.Result) -> schema.Cell:
    scores = result.scores
    return schema.Cell(
        mode=str(result.mode),
        corruption=result.condition.corruption,
        severity=result.condition.severity,
        images=scores.images,
        top1=scores.top1,
        top5=scores.top5,
        nll=scores.nll,
        ece=scores.ece,
        seconds=round(result.seconds, 4),
        batch_size=subject.config.batch_size if result.mode.needs_batch else None,
        bins=scores.bins,
        correct=pack(result.correct),
    )


def _chance_warnings(
    condition: Condition, results: Sequence[tuple[Subject, list[engine.Result]]], store: Store
) -> Iterator[str]:
    """A network that guesses on clean images deserves a word before the other conditions are spent on it."""
    if not condition.is_clean:
        return
    chance = 1 / max(2, len(store.classes))
    for subject, cells in results:
        best = max(cells, key=lambda cell: cell.scores.top1)
        if best.scores.top1 < 2 * chance:
            yield (
                f"{subject.name}: clean accuracy is {best.scores.top1:.1%} at best, chance is {chance:.1%}: "
                "are weights, preprocessing and class order those of its training?"
            )
