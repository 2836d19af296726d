"""Natural shifts: other test sets of the same classes, each a condition without corruption.

Beside each stands the accuracy on the clean images of its classes, with the outputs left out that are left
out for it: 200 classes are easier to tell apart than 1,000, and what is lost is lost from there. That is a
condition of its own (`clean@NAME`), unless it would be the clean one itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from lnbench.config import RunConfig
from lnbench.data import loading, specs
from lnbench.data.labels import ClassMap
from lnbench.data.store import Decoding, Store, part_of
from lnbench.errors import DataError, UsageError
from lnbench.evaluate import answers
from lnbench.evaluate.prepare import Images, Subject, as_asked, class_map
from lnbench.hashing import Indices
from lnbench.types import CLEAN, Condition, reference, shift


class _Reference(NamedTuple):
    """Clean images of a shift's classes: `positions` int64 (n,) in the clean store; `columns` int64 (labels,)
    of the shift's scores, -1 for a label it does not have."""

    positions: Indices
    columns: Indices


def open_shifts(config: RunConfig, decoding: Decoding, images: Images) -> Images:
    """Decode the sets of a run's shifts, after all other conditions. Raises DataError, UsageError."""
    if CLEAN not in images.conditions:
        raise DataError(f"{images.clean.source}: holds no clean images for a --shift to be compared with")
    decoding = as_asked(decoding, config)
    found: dict[str, Store] = {}
    for name, text in config.shifts.items():
        if any(condition.corruption == name for condition in images.conditions):
            raise UsageError(f"--shift {name}: {images.clean.source} holds a condition of that name")
        spec = specs.rooted(specs.parse(text), config.root)
        if spec.precomputed:
            raise UsageError(f"--shift {name}: {spec} is a corrupted set; evaluate it as --data")
        store = loading.open_store(spec, decoding)
        if store.images.shape[2:] != images.clean.images.shape[2:]:
            ours, theirs = (each.images.shape[2:] for each in (images.clean, store))
            raise DataError(
                f"--shift {name}: {store.source} has images of {theirs[0]}×{theirs[1]} px, "
                f"{images.clean.source} of {ours[0]}×{ours[1]}; give --resize and --crop"
            )
        found[name] = store
    return _with(images, found, [shift(name) for name in found])


def match(subject: Subject, images: Images) -> Subject:
    """Find which outputs answer for each shift's labels, and for the clean ones beside them. DataError."""
    maps = {name: class_map(subject, images.shifts[name]) for name in subject.config.shifts}
    device, columns = subject.classifier.device, {}
    for name in tuple(maps):
        columns[name] = answers.columns_of(maps[name], device)
        beside = _reference(subject, maps[name], images, name)
        if beside is not None:
            key = reference(name).corruption
            maps[key] = maps[name]
            columns[key] = torch.from_numpy(beside.columns).to(device)
    return replace(subject, shifts=maps, own_columns=columns)


def with_references(subjects: Sequence[Subject], images: Images) -> Images:
    """Add the clean images beside each shift, where these are not simply all. DataError, UsageError."""
    for name in subjects[0].config.shifts:
        found = [_reference(subject, subject.shifts[name], images, name) for subject in subjects]
        first = found[0]
        for subject, other in zip(subjects, found, strict=True):
            if (first is None) != (other is None) or (
                first is not None
                and other is not None
                and not np.array_equal(first.positions, other.positions)
            ):
                raise DataError(
                    f"--shift {name}: {subject.name} and {subjects[0].name} answer for other classes of "
                    f"{images.clean.source}; evaluate them one at a time"
                )
        if first is not None:
            store = part_of(images.clean, first.positions)
            images = _with(images, {reference(name).corruption: store}, [reference(name)])
    return replace(images, conditions=_ordered(images, subjects[0].config.shifts))


def check_sizes(subject: Subject, images: Images) -> None:
    """Has every shift the images that the modes need? Raises DataError, UsageError."""
    usual = subject.config.batch_size
    for name, store in images.shifts.items():
        count = len(store.labels)
        setting = subject.layers.setting(usual, count)
        for mode in subject.modes:
            size = mode.batch_size(usual)
            mode.refuse(setting)
            if mode.unit != "image" and count < size:
                raise DataError(
                    f"{name} has {count} images, fewer than a batch of {size}: give --batch-size {count} or"
                    " less"
                )


def shared(subject: Subject, images: Images, name: str) -> tuple[int, int]:
    """How many of a shift's classes the clean images have too, and how many it has."""
    own = _answering(subject.shifts[name], images.shifts[name])
    beside = images.shifts.get(reference(name).corruption)
    if beside is None:
        return len(own), len(own)
    table = subject.own_columns[reference(name).corruption]
    assert table is not None
    return len(np.unique(table.cpu().numpy()[beside.labels])), len(own)


def notes(subject: Subject, images: Images) -> Iterator[str]:
    """What must be known of the figures beside shifts, one sentence each."""
    for name in subject.config.shifts:
        common, classes = shared(subject, images, name)
        if common < classes:
            yield f"the clean accuracy beside {name} is on {common} of its {classes} classes"


def _reference(subject: Subject, own: ClassMap, images: Images, name: str) -> _Reference | None:
    """Which clean images stand beside a shift; None where it is all of them, scored as they are."""
    usual, clean = subject.class_map, images.clean
    assert usual is not None
    counted = _answering(own, images.shifts[name])
    place = {output: column for column, group in enumerate(own.columns) for output in group}
    columns = np.full(len(usual.column_of), -1, np.int64)
    for label in np.unique(clean.labels).tolist():
        among = {place.get(output) for output in usual.columns[usual.column_of[label]]}
        column = among.pop()
        if not among and column in counted:
            columns[label] = column
    positions = np.flatnonzero(columns[clean.labels] >= 0).astype(np.int64)
    if not len(positions):
        taken = " among those that --limit takes" if subject.config.limit else ""
        raise DataError(
            f"--shift {name}: {clean.source} has none of the classes of {images.shifts[name].source}{taken}:"
            " no clean accuracy can stand beside it"
        )
    if len(positions) == len(clean.labels) and own.columns == usual.columns:
        return None
    return _Reference(positions, columns)


def _answering(own: ClassMap, store: Store) -> set[int]:
    """The scores that labels of a set mean."""
    return {own.column_of[label] for label in store.occurring}


def _with(images: Images, stores: dict[str, Store], conditions: list[Condition]) -> Images:
    held = {**images.shifts, **stores}
    usual = images.of
    return replace(
        images,
        shifts=held,
        of=lambda condition: (
            stores[condition.corruption] if condition.corruption in stores else usual(condition)
        ),
        conditions=(*images.conditions, *conditions),
    )


def _ordered(images: Images, names: Iterable[str]) -> tuple[Condition, ...]:
    """Each shift with what stands beside it, behind everything else."""
    rest = [condition for condition in images.conditions if condition.corruption not in images.shifts]
    pairs = [each for name in names for each in (shift(name), reference(name))]
    return (*rest, *(each for each in pairs if each.corruption in images.shifts))
