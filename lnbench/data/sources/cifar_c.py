"""CIFAR-10-C, CIFAR-100-C and sets like them: an array for each corruption, its five severities in a row."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnbench.data.registry import source
from lnbench.data.sources.cifar import CIFAR10, CIFAR100
from lnbench.errors import DataError
from lnbench.types import CLEAN, CLEAN_NAME, Condition

if TYPE_CHECKING:
    import numpy.typing as npt

    from lnbench.data.store import Listing

SEVERITIES = (1, 2, 3, 4, 5)

_MOST_LABELS = 1 << 26  # bytes
_LAYOUT = "<corruption>.npy, labels.npy"


def looks(path: Path, *, ten: bool) -> bool:
    """Whether a folder holds the arrays of CIFAR-10-C, or of CIFAR-100-C."""
    if not (path / "labels.npy").is_file():
        return False
    from lnbench.data.arrays import read_npy

    labels = read_npy(path / "labels.npy", most=_MOST_LABELS)
    return bool(labels.size and labels.max() < 10) == ten


def conditions(path: Path) -> list[Condition]:
    """What the arrays hold; `clean` from `clean.npy`, a fifth as long."""
    from lnbench.data.arrays import open_npy

    labels = _labels(path)
    found: list[Condition] = []
    for file in sorted(path.glob("*.npy")):
        if file.name == "labels.npy" or file.name.startswith(".") or not file.name.isprintable():
            continue
        _check_rows(file, open_npy(file), labels)
        if file.stem == CLEAN_NAME:
            found.append(CLEAN)
        else:
            found.extend(Condition(file.stem, severity) for severity in SEVERITIES)
    return found


@source(
    "cifar10-c",
    about="CIFAR-10-C arrays",
    layout=_LAYOUT,
    looks=partial(looks, ten=True),
    rank=2,
    conditions=conditions,
)
def cifar10_c(path: Path, condition: Condition) -> Listing:
    return _list("cifar10-c", path, condition, CIFAR10)


@source(
    "cifar100-c",
    about="CIFAR-100-C arrays",
    layout=_LAYOUT,
    looks=partial(looks, ten=False),
    rank=2,
    conditions=conditions,
)
def cifar100_c(path: Path, condition: Condition) -> Listing:
    return _list("cifar100-c", path, condition, CIFAR100)


def _list(kind: str, path: Path, condition: Condition, classes: tuple[str, ...]) -> Listing:
    from lnbench.data.arrays import list_arrays, open_npy
    from lnbench.data.manifest import read_manifest
    from lnbench.data.store import file_stamp

    file = path / f"{condition.corruption}.npy"
    if not file.is_file() or (condition.severity not in SEVERITIES and not condition.is_clean):
        raise DataError(f"{kind}:{path}: holds no {condition}")
    labels = _labels(path)
    rows = open_npy(file)
    _check_rows(file, rows, labels)
    count = len(labels) // len(SEVERITIES)
    start = 0 if condition.is_clean else (int(condition.severity) - 1) * count
    manifest = read_manifest(path)
    return list_arrays(
        rows[start : start + count],
        labels[start : start + count],
        source=f"{kind}:{path} {condition}",
        classes=classes if manifest is None else manifest.classes,
        stamp=file_stamp([file, path / "labels.npy"]) + str(condition),
    )


def _labels(path: Path) -> npt.NDArray[Any]:
    from lnbench.data.arrays import read_npy

    file = path / "labels.npy"
    if not file.is_file():
        raise DataError(f"{path}: no labels.npy; a CIFAR-C set holds one beside its <corruption>.npy")
    labels = read_npy(file, most=_MOST_LABELS)
    described = f"{labels.dtype} {labels.shape}"
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or len(labels) % len(SEVERITIES):
        raise DataError(f"{file}: must hold 5·n integers, the labels of the five severities, not {described}")
    return labels


def _check_rows(file: Path, rows: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    from lnbench.data.arrays import check_images

    check_images(rows, str(file))
    expected = len(labels) // (len(SEVERITIES) if file.stem == CLEAN_NAME else 1)
    if len(rows) != expected:
        raise DataError(f"{file}: {len(rows)} images, but labels.npy asks for {expected}")
