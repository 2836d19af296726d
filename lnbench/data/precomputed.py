"""Corrupted sets made elsewhere: ImageNet-C folders and CIFAR-C arrays, a store for each condition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lnbench.data.arrays import check_images, list_arrays, map_npy
from lnbench.data.cifar import CIFAR10, CIFAR100
from lnbench.data.folder import class_names, list_folder
from lnbench.data.loading import open_listing
from lnbench.data.manifest import read_manifest
from lnbench.data.sources import PRECOMPUTED, DataSpec, has_severities, is_severity
from lnbench.data.store import Listing, Store, file_stamp
from lnbench.data.text import printable
from lnbench.errors import DataError
from lnbench.types import CLEAN, CLEAN_NAME, Condition, Geometry

KINDS = PRECOMPUTED
SEVERITIES = (1, 2, 3, 4, 5)


def conditions(spec: DataSpec) -> tuple[Condition, ...]:
    """The conditions a precomputed set holds, sorted; a partial set lists what is there.

    `clean` is among them where the set brings it (`clean/0/<class>/…` or `clean.npy`). Raises
    DataError when there are none, or where the classes differ between conditions.
    """
    path = _path(spec)
    try:
        found = _folder_conditions(path) if spec.kind == "imagenet-c" else _array_conditions(path)
    except OSError as error:
        raise DataError(f"{spec}: cannot be listed: {error.strerror or error}") from error
    manifest = read_manifest(path)
    if manifest is not None:  # an export may have been interrupted within a condition
        found = [condition for condition in found if manifest.has(condition)]
    if not found:
        layout = (
            "<corruption>/<1…5>/<class>/" if spec.kind == "imagenet-c" else "<corruption>.npy, labels.npy"
        )
        raise DataError(f"{spec}: holds no conditions; its layout should be {layout}")
    return tuple(sorted(found))


def open_condition(
    spec: DataSpec,
    condition: Condition,
    geometry: Geometry,
    *,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    cache_above: int = 0,
    skip_unreadable: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Store:
    """The store of one condition; arguments as in `open_store`. Ids and subsets agree between conditions."""
    try:
        listing = _listing(spec, condition)
    except OSError as error:
        raise DataError(f"{spec}: {condition} cannot be read: {error.strerror or error}") from error
    return open_listing(
        listing,
        geometry,
        limit=limit,
        seed=seed,
        cache=cache,
        cache_above=cache_above,
        skip_unreadable=skip_unreadable,
        on_progress=on_progress,
    )


def _path(spec: DataSpec) -> Path:
    if not spec.precomputed or spec.path is None:
        raise ValueError(f"{spec} is not a precomputed set")
    if not spec.path.is_dir():
        raise DataError(f"{spec}: no such folder")
    return spec.path


def _listing(spec: DataSpec, condition: Condition) -> Listing:
    path = _path(spec)
    if spec.kind == "imagenet-c":
        folder = path / condition.corruption / f"{condition.severity:g}"
        if not folder.is_dir():
            raise DataError(f"{spec}: holds no {condition}")
        return list_folder(folder, source=f"{spec} {condition}")
    return _list_rows(spec, path, condition)


def _folder_conditions(path: Path) -> list[Condition]:
    found: list[Condition] = []
    expected: tuple[Condition, list[str]] | None = None
    for corruption in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if not corruption.name.isprintable() or not has_severities(corruption):
            continue
        for severity in sorted(corruption.iterdir()):
            if not (severity.is_dir() and is_severity(severity.name)):
                continue
            condition = Condition(corruption.name, float(severity.name))
            if f"{condition.severity:g}" != severity.name or (condition.severity == 0) != condition.is_clean:
                continue  # "05" or "0" of a corruption: no name this set would use
            names = class_names(severity)
            # A label is the place of a folder in the alphabet, so one missing class would shift the rest.
            if expected and names != expected[1]:
                odd = printable(min(set(names) ^ set(expected[1])))
                raise DataError(f"{path}: {condition} and {expected[0]} differ in their classes ('{odd}')")
            expected = expected or (condition, names)
            found.append(CLEAN if condition.is_clean else condition)
    return found


def _array_conditions(path: Path) -> list[Condition]:
    labels = _labels(path)
    found: list[Condition] = []
    for file in sorted(path.glob("*.npy")):
        if file.name == "labels.npy" or file.name.startswith(".") or not file.name.isprintable():
            continue
        rows = map_npy(file)
        _check_rows(file, rows, labels)
        if file.stem == CLEAN_NAME:
            found.append(CLEAN)
        else:
            found.extend(Condition(file.stem, severity) for severity in SEVERITIES)
    return found


def _list_rows(spec: DataSpec, path: Path, condition: Condition) -> Listing:
    file = path / f"{condition.corruption}.npy"
    if not file.is_file() or (condition.severity not in SEVERITIES and not condition.is_clean):
        raise DataError(f"{spec}: holds no {condition}")
    labels = _labels(path)
    rows = map_npy(file)
    _check_rows(file, rows, labels)
    count = len(labels) // len(SEVERITIES)
    start = 0 if condition.is_clean else (int(condition.severity) - 1) * count
    return list_arrays(
        rows[start : start + count],
        labels[start : start + count],
        source=f"{spec} {condition}",
        classes=_classes(spec.kind, path),
        stamp=file_stamp([file, path / "labels.npy"]) + str(condition),
    )


def _classes(kind: str, path: Path) -> tuple[str, ...]:
    manifest = read_manifest(path)
    if manifest is not None:
        return manifest.classes
    return CIFAR10 if kind == "cifar10-c" else CIFAR100


def _labels(path: Path) -> npt.NDArray[Any]:
    file = path / "labels.npy"
    if not file.is_file():
        raise DataError(f"{path}: no labels.npy; a CIFAR-C set holds one beside its <corruption>.npy")
    labels = map_npy(file)
    described = f"{labels.dtype} {labels.shape}"
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or len(labels) % len(SEVERITIES):
        raise DataError(f"{file}: must hold 5·n integers, the labels of the five severities, not {described}")
    return labels


def _check_rows(file: Path, rows: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    check_images(rows, str(file))
    expected = len(labels) // (len(SEVERITIES) if file.stem == CLEAN_NAME else 1)
    if len(rows) != expected:
        raise DataError(f"{file}: {len(rows)} images, but labels.npy asks for {expected}")
