"""What an evaluation leaves behind: the record's head and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import numpy as np
import torch
from pydantic import JsonValue

from lnbench.config import RunConfig
from lnbench.corruptions.rng import GENERATOR
from lnbench.data.labels import ClassMap
from lnbench.data.order import SHUFFLED
from lnbench.data.store import Store
from lnbench.evaluate import count, shifts, sources
from lnbench.evaluate.prepare import Images, Subject
from lnbench.norm.modes.registry import Mode
from lnbench.results import schema
from lnbench.results.bits import pack
from lnbench.results.draws import shares
from lnbench.results.environment import environment
from lnbench.results.merge import shard_note
from lnbench.types import CLEAN_NAME, reference


def run(subject: Subject, images: Images, command: str, processes: int) -> schema.Run:
    """The record's head: what is known before the first cell."""
    config, store = subject.config, images.clean
    device = subject.classifier.device
    preprocessing: dict[str, JsonValue] = {
        "mean": list(subject.normalization.mean),
        "std": list(subject.normalization.std),
        "resize": _plain(images.geometry.resize),
        "crop": _plain(images.geometry.crop),
        "interpolation": subject.geometry.interpolation,
    }
    if subject.assumed:
        preprocessing["assumed"] = True
    return schema.Run(
        command=command,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        config=config.model_dump(mode="json", exclude={"device"}) | sources.recorded(subject, images),
        suite=schema.RecordedSuite(
            preset=config.preset,
            version=config.preset_version,
            table=None if images.precomputed else config.table,
            backend="precomputed" if images.precomputed else config.backend,
            seed=config.seed,
            generator=None if images.precomputed or config.backend != "native" else GENERATOR,
            modes=tuple(str(mode) for mode in subject.modes),
            conditions=tuple((c.corruption, c.severity) for c in images.conditions),
            overrides=_overrides(config),
            baseline=config.baseline,
        ),
        model=schema.Model(
            spec=config.model,
            source=subject.source,
            weights=config.weights,
            sha256=subject.sha256,
            code=subject.code,
            state=subject.state,
            classes=subject.classes,
            norm_layers=len(subject.layers),
            groups=subject.layers.groups,
            parameters=sum(p.numel() for p in subject.classifier.network.parameters()),
            precision=config.precision,
            preprocessing=preprocessing,
        ),
        data=schema.Data(
            spec=config.data,
            source=store.source,
            fingerprint=store.fingerprint,
            images=len(store.labels),
            total=store.total,
            classes=store.classes,
            skipped=store.skipped,
            class_map=_class_map(subject.class_map),
        ),
        environment=environment(
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            threads=torch.get_num_threads(),
            processes=processes,
        ),
        deviations=tuple(_deviations(subject, images)),
        shifts={name: _shift(subject, images, name) for name in config.shifts},
    )


def _shift(subject: Subject, images: Images, name: str) -> schema.Shift:
    store, beside = images.shifts[name], reference(name).corruption
    common, classes = shifts.shared(subject, images, name)
    return schema.Shift(
        spec=subject.config.shifts[name],
        source=store.source,
        fingerprint=store.fingerprint,
        images=len(store.labels),
        total=store.total,
        skipped=len(store.skipped),
        classes=classes,
        shared=common,
        beside=beside if beside in images.shifts else CLEAN_NAME,
        class_map=_class_map(subject.shifts[name]),
    )


def _class_map(found: ClassMap | None) -> schema.RecordedClassMap | None:
    """What answered for the labels; None where label i is output i and every output may answer."""
    if found is None or found.plain:
        return None
    outputs = tuple(found.columns[column] for column in found.column_of)
    return schema.RecordedClassMap(
        how=found.how, outputs=outputs, answering=len(found.columns), combine=found.combine
    )


def _plain(side: int | tuple[int, int] | None) -> JsonValue:
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


def _answering(found: ClassMap) -> str:
    grouped = {"mean": "the mean of their softmax", "largest": "their largest", None: ""}[found.combine]
    more = f"; several outputs of one label count by {grouped}" if grouped else ""
    used = sum(len(column) for column in found.columns)
    out = "the others left out before softmax" if used < found.outputs else "none left out"
    return f"{len(found.columns)} classes answered by {used} of {found.outputs} outputs, {out}{more}"


def _deviations(subject: Subject, images: Images) -> Iterator[str]:
    """One sentence for each way this run departs from the plain benchmark."""
    config, store = subject.config, images.clean
    if config.shard is not None:
        yield shard_note(config.shard)
    if len(store.labels) + len(store.skipped) < store.total:
        yield f"{len(store.labels)} of {store.total} images (class-balanced subset, seed {config.seed})"
    if subject.class_map is not None and len(subject.class_map.columns) < subject.class_map.outputs:
        yield _answering(subject.class_map)
    if store.skipped:
        yield f"{len(store.skipped)} unreadable images left out"
    yield from _protocol(config, subject.modes)
    yield from shifts.notes(subject, images)
    yield from sources.notes(subject, images)
    yield from images.notes
    for mode in subject.modes:
        left = [name for name in subject.layers.all_names if mode.is_learning and not mode.learns(name)]
        if left:
            yield f"mode {mode}: weight and bias of some layers do not learn: {', '.join(left)}"
        setting = subject.layers.setting(config.batch_size, len(store.labels))
        if mode.is_learning and (note := mode.note(setting)) is not None:
            yield note
    if config.precision != "fp32":
        yield f"computed in {config.precision}"
    if images.precomputed:
        yield "corrupted images as stored, not computed here"
    elif config.corruptions and config.jpeg_roundtrip is None and config.table == "imagenet":
        yield "corrupted in memory; the published ImageNet-C files are JPEG-compressed (quality 85)"
    if config.backend == "reference" and not images.precomputed:
        yield "corruptions computed by the imagecorruptions package"
    yield from subject.notes
    if config.chosen is not None:
        yield config.chosen.note(store.source, store.names, subject.sha256)
    if config.plugins is not None:
        yield f"with code of one's own: {config.plugins}"
    if config.parameters:
        yield f"own parameters for {', '.join(sorted(config.parameters))}"


def _protocol(config: RunConfig, modes: Sequence[Mode]) -> Iterator[str]:
    """How the images came, for modes whose answer depends on it."""
    order = "seeded shuffle" if config.order == SHUFFLED else f"order {config.order}"
    units = {mode.unit for mode in modes}
    sizes = {
        unit: ", ".join(
            map(str, dict.fromkeys(m.batch_size(config.batch_size) for m in modes if m.unit == unit))
        )
        for unit in units
    }
    if "batch" in units:
        yield f"batch statistics over {sizes['batch']} images, {order}"
    if "stream" in units:
        yield f"adapted along the stream, in batches of {sizes['stream']} images, {order}"
        if config.sequence == "continual":
            yield "what is learned under one corrupted condition is kept for the next, in the suite's order"
    if config.mixed and units & {"batch", "stream"}:
        yield "all corrupted conditions mixed in one stream, so that batches hold images of many"


def cell(
    subject: Subject, result: count.Result, clean: Store, moved: dict[str, float] | None = None
) -> schema.Cell:
    """One finished cell; `moved`: how far each layer's inputs shifted, from --diagnose.

    `clean` has the images and labels that the record speaks of.
    """
    scores, store = result.scores, result.store
    return schema.Cell(
        mode=str(result.mode),
        corruption=result.condition.corruption,
        severity=result.condition.severity,
        images=scores.images,
        scores=scores.values,
        seconds=round(result.seconds, 4),
        batch_size=None if result.mode.unit == "image" else result.mode.batch_size(subject.config.batch_size),
        draws=_draws(result),
        unanswered=scores.unanswered or None,
        bins=scores.bins,
        shifts=moved,
        counts=dict(result.counts) or None,
        course=_course(result),
        correct=pack(result.correct),
        fingerprint=None if store is None else store.fingerprint,
        counted=None if store is None or np.array_equal(store.ids, clean.ids) else _counted(store),
    )


def _counted(store: Store) -> str:
    """Which images of the whole dataset a condition's store holds."""
    places = np.zeros(store.total, bool)
    places[store.ids] = True
    return pack(places)


def left_out(result: count.Result, clean: Store) -> str | None:
    """What to say of a condition whose images are not all those of the first."""
    store = result.store
    if store is None or np.array_equal(store.ids, clean.ids):
        return None
    return (
        f"{result.condition}: {len(store.ids)} images, {len(store.skipped)} unreadable ones left out "
        f"(of the first condition {len(clean.skipped)}): conditions are paired by image"
    )


def _course(result: count.Result) -> schema.Course | None:
    unit = result.mode.unit
    if unit == "image":
        return None
    return schema.Course(
        unit=unit,
        tenths=result.tenths,
        batches=result.batches,
        resets=result.resets,
        recoveries=result.recoveries or None,
    )


def _draws(result: count.Result) -> tuple[tuple[int, int], ...] | None:
    """Images and right ones of each draw's share, where what is drawn decides the statistics.

    A mode along a stream may look at images first too (`eata`), but its order weighs more than they do.
    """
    mode = result.mode
    return shares(result.correct, mode.draws) if mode.images and mode.unit == "image" else None
