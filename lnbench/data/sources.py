"""Data specs, `kind:path`, and the one door from a spec to a store."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lnbench.data.arrays import list_arrays, list_npz, map_npy
from lnbench.data.cifar import LAYOUTS, is_tar, list_cifar, tar_names
from lnbench.data.folder import list_folder
from lnbench.data.loading import open_listing
from lnbench.data.store import Listing, Store
from lnbench.errors import DataError, UsageError, unknown
from lnbench.types import Geometry

# Kind → what a person would call it.
KINDS = {
    "folder": "a folder of class folders",
    "cifar10": "the CIFAR-10 batches",
    "cifar100": "the CIFAR-100 batches",
    "npz": "an npz file of images and labels",
    "cifar10-c": "CIFAR-10-C arrays",
    "cifar100-c": "CIFAR-100-C arrays",
    "imagenet-c": "ImageNet-C folders",
    "demo": "the built-in demo",
}
PRECOMPUTED = frozenset({"cifar10-c", "cifar100-c", "imagenet-c"})
SPLIT = frozenset({"cifar10", "cifar100", "demo"})  # kinds with a training and a test part

_SEVERITY = re.compile(r"\d{1,2}(\.\d{1,3})?")


@dataclass(frozen=True)
class DataSpec:
    """A dataset by kind and place. `note` says what a bare path was taken for, else it is empty."""

    kind: str
    path: Path | None
    split: str = "test"
    note: str = field(default="", compare=False)

    @property
    def precomputed(self) -> bool:
        """Whether it holds corrupted images, to be opened condition by condition."""
        return self.kind in PRECOMPUTED

    def __str__(self) -> str:
        place = "" if self.path is None else f":{self.path}"
        return f"{self.kind}{place}" + (":train" if self.split == "train" else "")


def parse(spec: str) -> DataSpec:
    """Read `folder:PATH`, `cifar10:PATH[:train]`, `npz:PATH`, …, `demo[:train]` or a bare path.

    Raises UsageError for an unknown kind and DataError for a bare path that is nothing known.
    """
    if "\0" in spec or not spec.strip():
        raise UsageError(f"data spec {spec!r} is no path")
    kind, colon, rest = spec.partition(":")
    if kind not in KINDS:
        if colon and re.fullmatch(r"[A-Za-z][\w-]+", kind) and not _exists(Path(spec)):
            raise unknown("kind of data", kind, KINDS)
        return _taken(_place(spec))
    split = "test"
    for name in ("train", "test"):
        if kind in SPLIT and (rest == name or rest.endswith(f":{name}")):
            split, rest = name, rest[: -len(name)].removesuffix(":")
    if kind == "demo":
        if rest:
            raise UsageError(f"data spec '{spec}': the demo has no path, only demo and demo:train")
        return DataSpec(kind, None, split)
    if not rest:
        raise UsageError(f"data spec '{spec}' lacks the path: {kind}:PATH")
    return DataSpec(kind, _place(rest), split)


def open_store(
    spec: DataSpec,
    geometry: Geometry,
    *,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    cache_above: int = 0,
    skip_unreadable: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Decode a dataset into a store of uint8 (N, 3, H, W) at the network's resolution.

    With `Geometry()` arrays keep their size, and the images of a folder must all have one size.
    `limit` takes a seeded, class-balanced subset. `on_progress(done, total)` is called as images are
    decoded. Raises DataError, in one line, for data that cannot be read.
    """
    return open_listing(
        _listing(spec),
        geometry,
        limit=limit,
        seed=seed,
        cache=cache,
        cache_above=cache_above,
        skip_unreadable=skip_unreadable,
        on_progress=on_progress,
    )


def _listing(spec: DataSpec) -> Listing:
    if spec.kind in PRECOMPUTED:
        raise UsageError(f"{spec}: is precomputed and has no clean images to corrupt")
    if spec.kind == "demo":
        return _list_demo(spec)
    if spec.path is None:
        raise ValueError(f"{spec.kind} needs a path")
    try:
        if spec.kind == "npz":
            return list_npz(spec.path)
        if spec.kind in LAYOUTS:
            return list_cifar(spec.kind, spec.path, spec.split)
        return list_folder(spec.path)
    except OSError as error:
        raise DataError(f"{spec}: cannot be read: {error.strerror or error}") from error


def _list_demo(spec: DataSpec) -> Listing:
    from lnbench.data.demo import open_demo  # renders pictures; not needed by other data

    images, labels, classes = open_demo("train" if spec.split == "train" else "test")
    rows = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    return list_arrays(rows, labels, source=str(spec), classes=classes, stamp=str(spec))


def _taken(path: Path) -> DataSpec:
    """Resolve a bare path by what lies there."""
    try:
        kind, place = _kind_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return DataSpec(kind, place, note=f"took {path} for {KINDS[kind]} ({kind}:{place})")


def _place(text: str) -> Path:
    """The path a person wrote; `~` is theirs to use, but shells leave it alone behind a prefix."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody's home
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a path
        return False


def _kind_of(path: Path) -> tuple[str, Path]:
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".npz":
        return "npz", path
    if is_tar(path):
        names = tar_names(path)
        for kind, layout in LAYOUTS.items():
            if set(layout.files["test"]) <= names:
                return kind, path
        raise DataError(f"{path}: an archive that is not CIFAR; unpack it and give the folder")
    if path.name in {name for files in LAYOUTS["cifar10"].files.values() for name in files}:
        return "cifar10", path
    if path.suffix.lower() == ".zip":
        raise DataError(f"{path}: unpack the archive and give the folder")
    raise DataError(f"{path}: not a dataset; known are {', '.join(sorted(KINDS))}")


def _kind_of_folder(path: Path) -> tuple[str, Path]:
    for kind, layout in LAYOUTS.items():
        for folder in (path, path / layout.folder):
            if (folder / layout.files["test"][0]).is_file() or (folder / layout.files["train"][0]).is_file():
                return kind, path
    if (path / "labels.npy").is_file():
        labels = map_npy(path / "labels.npy")
        return ("cifar10-c" if labels.size and labels.max() < 10 else "cifar100-c"), path
    if any(has_severities(entry) for entry in path.iterdir() if entry.is_dir()):
        return "imagenet-c", path
    return "folder", path


def has_severities(corruption: Path) -> bool:
    """Whether a folder is `<corruption>` of `<corruption>/<severity>/<class>/`."""
    return any(
        is_severity(severity.name) and any(child.is_dir() for child in severity.iterdir())
        for severity in corruption.iterdir()
        if severity.is_dir()
    )


def is_severity(name: str) -> bool:
    """Whether a folder's name is a severity: "3" or "2.5"."""
    return _SEVERITY.fullmatch(name) is not None
