"""Write corrupted sets, as ImageNet-C folders or CIFAR-C arrays, resumable condition by condition."""

from __future__ import annotations

import errno
import io
import math
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from lnbench.data.loading import cpus
from lnbench.data.manifest import Manifest, read_manifest, write_manifest
from lnbench.data.names import is_number, ordered_names, safe_name
from lnbench.data.sources.cifar_c import SEVERITIES
from lnbench.data.store import Pixels, Store
from lnbench.data.tree import SUFFIXES, in_order
from lnbench.errors import DataError, UsageError
from lnbench.files import atomic, reason, regular
from lnbench.hashing import Indices
from lnbench.types import Condition

LAYOUTS = ("imagenet-c", "cifar-c")


class Writer(Protocol):
    """What both layouts offer. One process writes to one folder."""

    def finished(self, condition: Condition) -> bool:
        """Whether an earlier run has written this condition to its end."""

    def write(self, condition: Condition, positions: Indices, images: Pixels) -> None:
        """Write images uint8 (B, 3, H, W) at `positions` (B,) of the store, each position once.

        Raises DataError when the disk refuses."""

    def finish(self, condition: Condition) -> None:
        """Declare a condition complete; ValueError if images are missing."""


def open_export(
    root: Path,
    layout: str,
    store: Store,
    conditions: Iterable[Condition],
    *,
    identity: Mapping[str, str],
    quality: int | None = None,
) -> Writer:
    """Start or continue an export of `store` under `conditions` into the folder `root`.

    `layout`: "imagenet-c" writes `<corruption>/<severity>/<class>/<name>.png` (lossless), or `.JPEG`
    with `quality` 1–95; "cifar-c" writes `<corruption>.npy`, uint8 (5·N, H, W, 3), and `labels.npy`.
    `identity` is what the set depends on besides the store (seed, parameter table, backend): a folder
    that holds another set is refused with DataError. CIFAR-C arrays need severities 1–5 of each corruption.
    """
    planned = sorted(set(conditions))
    _check_plan(layout, planned, quality)
    classes = tuple(_class_folders(store.classes)) if layout == "imagenet-c" else store.classes
    whole = {
        **identity,
        "data": store.fingerprint,
        "quality": "lossless" if quality is None else str(quality),
    }
    manifest = Manifest(layout, whole, classes)
    try:
        manifest = _continued(root, manifest)
        if layout == "imagenet-c":
            return FolderWriter(root, manifest, store, quality)
        return ArrayWriter(root, manifest, store)
    except OSError as error:
        raise _unwritable(root, error) from error


class FolderWriter:
    """Writer of ImageNet-C folders; each file appears whole or not at all."""

    def __init__(self, root: Path, manifest: Manifest, store: Store, quality: int | None) -> None:
        self._root = root
        self._manifest = manifest
        self._quality = quality
        self._places = _places(store, manifest.classes, ".png" if quality is None else ".JPEG")
        self._pending: dict[Condition, npt.NDArray[np.bool_]] = {}

    def finished(self, condition: Condition) -> bool:
        return self._manifest.has(condition)

    def write(self, condition: Condition, positions: Indices, images: Pixels) -> None:
        folder = self._root / safe_name(condition.corruption) / f"{condition.severity:g}"
        try:
            if condition not in self._pending:
                _fresh_folders(folder, self._manifest.classes)
                self._pending[condition] = np.zeros(len(self._places), bool)
            files = [folder / self._places[position] for position in positions.tolist()]
            with ThreadPoolExecutor(cpus()) as pool:  # PNG and JPEG encoding release the interpreter lock
                for _ in pool.map(partial(_write_image, quality=self._quality), files, images):
                    pass
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._pending[condition][positions] = True

    def finish(self, condition: Condition) -> None:
        _check_complete(condition, self._pending.pop(condition, None))
        self._manifest = _noted(self._root, self._manifest, condition)


class ArrayWriter:
    """Writer of CIFAR-C arrays; a corruption's file gets its name when all its severities are in."""

    def __init__(self, root: Path, manifest: Manifest, store: Store) -> None:
        self._root = root
        self._manifest = manifest
        self._shape = (len(store.ids), *store.images.shape[2:], 3)
        self._pending: dict[Condition, npt.NDArray[np.bool_]] = {}
        self._rows: dict[str, _Unfinished] = {}
        _save_npy(root / "labels.npy", np.tile(store.labels, len(SEVERITIES)))

    def finished(self, condition: Condition) -> bool:
        # The note may outlive the unfinished file it speaks of; then the work is done again.
        whole, unfinished = self._files(condition)
        return self._manifest.has(condition) and (whole.is_file() or unfinished.is_file())

    def write(self, condition: Condition, positions: Indices, images: Pixels) -> None:
        count = self._shape[0]
        start = 0 if condition.is_clean else (int(condition.severity) - 1) * count
        try:
            self._open(condition).write(start + positions, images.transpose(0, 2, 3, 1))
        except OSError as error:
            raise _unwritable(self._root, error) from error
        self._pending.setdefault(condition, np.zeros(count, bool))[positions] = True

    def finish(self, condition: Condition) -> None:
        _check_complete(condition, self._pending.pop(condition, None))
        try:
            self._rows[condition.corruption].flush()
        except OSError as error:
            raise _unwritable(self._root, error) from error
        self._manifest = _noted(self._root, self._manifest, condition)
        needed = (
            [condition] if condition.is_clean else [Condition(condition.corruption, s) for s in SEVERITIES]
        )
        if all(self._manifest.has(each) for each in needed):
            self._rows.pop(condition.corruption).close()
            whole, unfinished = self._files(condition)
            try:
                unfinished.replace(whole)
            except OSError as error:
                raise _unwritable(whole, error) from error

    def _files(self, condition: Condition) -> tuple[Path, Path]:
        whole = self._root / f"{safe_name(condition.corruption)}.npy"
        return whole, whole.with_name(f".{whole.name}.partial")

    def _open(self, condition: Condition) -> _Unfinished:
        rows = self._rows.get(condition.corruption)
        if rows is None:
            unfinished = self._files(condition)[1]
            shape = (self._shape[0] * (1 if condition.is_clean else len(SEVERITIES)), *self._shape[1:])
            rows = _Unfinished(unfinished, shape)
            self._rows[condition.corruption] = rows
        return rows


def _check_plan(layout: str, planned: Sequence[Condition], quality: int | None) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}': known are {', '.join(LAYOUTS)}")
    if quality is not None and (layout != "imagenet-c" or not 1 <= quality <= 95):
        raise UsageError("a JPEG quality lies in 1–95 and belongs to the layout imagenet-c")
    for condition in planned:
        if safe_name(condition.corruption) != condition.corruption:
            raise UsageError(f"corruption {condition.corruption!r} is no name for a file")
        if layout == "cifar-c" and not condition.is_clean:
            missing = [s for s in SEVERITIES if Condition(condition.corruption, s) not in planned]
            if missing or condition.severity not in SEVERITIES:
                raise UsageError(
                    f"CIFAR-C arrays hold severities 1 to 5 of a corruption, no others and no fewer"
                    f" ({condition.corruption}); choose all five or the layout imagenet-c"
                )


def _continued(root: Path, manifest: Manifest) -> Manifest:
    """The manifest to go on with; DataError where the folder holds something else."""
    root.mkdir(parents=True, exist_ok=True)
    found = read_manifest(root)
    if found is None:
        if any(root.iterdir()):
            raise DataError(f"{root}: is not empty and holds no export; choose a new folder")
        write_manifest(root, manifest)
        return manifest
    mine = {"layout": manifest.layout, "classes": str(manifest.classes), **manifest.identity}
    theirs = {"layout": found.layout, "classes": str(found.classes), **found.identity}
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            raise DataError(
                f"{root}: holds another export ({key}: {theirs.get(key, 'none')[:60]}, now"
                f" {mine.get(key, 'none')[:60]}); choose a new folder"
            )
    return found


def _noted(root: Path, manifest: Manifest, condition: Condition) -> Manifest:
    manifest = replace(manifest, finished=manifest.finished | {str(condition)})
    write_manifest(root, manifest)
    return manifest


def _check_complete(condition: Condition, written: npt.NDArray[np.bool_] | None) -> None:
    if written is None or not written.all():
        raise ValueError(f"{condition} was finished before all its images were written")


def _class_folders(classes: Sequence[str]) -> list[str]:
    """Names of folders that a reader puts in the order of the labels."""
    numbered = all(is_number(name) for name in classes) and in_order(classes) == list(classes)
    return list(classes) if numbered else ordered_names(classes)


def _places(store: Store, classes: Sequence[str], suffix: str) -> list[str]:
    """`<class>/<name>` for each image, in the order in which a reader will find them."""
    places = [""] * len(store.ids)
    for label, folder in enumerate(classes):
        positions = np.flatnonzero(store.labels == label).tolist()
        names = ordered_names([_stem(store.names[position]) for position in positions], suffix)
        for position, name in zip(positions, names, strict=True):
            places[position] = f"{folder}/{name}"
    return places


def _stem(name: str) -> str:
    """An image's name without its class folder and suffix; deeper folders become part of the name."""
    inner = name.split("/", 1)[-1]
    known = next((suffix for suffix in SUFFIXES if inner.lower().endswith(suffix)), "")
    return inner[: len(inner) - len(known)].replace("/", "_")


def _fresh_folders(folder: Path, classes: Sequence[str]) -> None:
    """All class folders, empty ones too: a label is the place of a folder in the alphabet."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)


def _write_image(path: Path, pixels: Pixels, *, quality: int | None) -> None:
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    with atomic(path, DataError, flush=False) as file:
        if quality is None:
            picture.save(file, "PNG", compress_level=1)  # three times faster, a tenth larger than 6
        else:
            picture.save(file, "JPEG", quality=quality)


def _save_npy(path: Path, array: npt.NDArray[Any]) -> None:
    with atomic(path, DataError) as file:
        np.save(file, array, allow_pickle=False)


class _Unfinished:
    """An unfinished array on disk, uint8, continued if it has the right shape, else started.

    Written row by row and not mapped: on a full disk, or where somebody cuts the file short, a mapped file
    kills the program. Its place on the disk is taken first, so that a full disk is known at the start.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._row = math.prod(shape[1:])
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self._offset = header.tell()
        self._end = self._offset + math.prod(shape)
        started = not self._continues(path, header.getvalue())
        if started:
            path.unlink(missing_ok=True)
            with path.open("xb") as file:
                file.write(header.getvalue())
                file.truncate(self._end)
        self._file = path.open("r+b")
        weakref.finalize(self, self._file.close)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, self._end)
        except OSError:
            self._file.close()
            if started:
                path.unlink()
            raise

    def _continues(self, path: Path, header: bytes) -> bool:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != self._end:
            return False
        with regular(path) as file:
            return file.read(len(header)) == header

    def write(self, places: Indices, rows: Pixels) -> None:
        """Write rows uint8 (B, ...) at `places` (B,). OSError where the disk refuses."""
        for place, row in zip(places.tolist(), rows, strict=True):
            self._file.seek(self._offset + place * self._row)
            self._file.write(np.ascontiguousarray(row).data)

    def flush(self) -> None:
        """To the disk. OSError where it refuses, or where the file was cut short."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if os.fstat(self._file.fileno()).st_size < self._end:
            raise OSError(errno.EIO, "it was cut short while it was written; export again")

    def close(self) -> None:
        self._file.close()


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written: {reason(error)}")
