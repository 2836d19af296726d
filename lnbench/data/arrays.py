"""Datasets that are arrays already: `.npz` files with `images` and `labels`."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from lnbench.data.decode import MAX_PIXELS
from lnbench.data.store import Listing, Pixels, file_stamp, numerals, release
from lnbench.data.text import one_line, printable
from lnbench.errors import DataError
from lnbench.hashing import Indices

MAX_CLASSES = 1_000_000  # a label beyond this is a mistake, not a class
LARGE = 1 << 28  # bytes from which an array is worth mapping, and asking how well it was compressed
_KEPT = 512  # images of a mapped file read between two times of giving its memory back
_MAX_RATIO = 200  # photographs shrink by 2 at best, flat drawings by 50; zip bombs by 1000


def list_npz(path: Path) -> Listing:
    """List an `.npz` with keys `images` uint8 (N, H, W, 3) and `labels` integer (N,).

    An optional key `classes`, strings (classes,), names the classes. Nothing is unpickled. Raises
    DataError for anything else.
    """
    arrays = _read_npz(path)
    for key in ("images", "labels"):
        if key not in arrays:
            raise DataError(
                f"{path}: no array '{key}' among {_some(arrays)}; an npz dataset has the keys 'images',"
                f" uint8 (N, H, W, 3), and 'labels', integers (N,)"
            )
    names = arrays.get("classes")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise DataError(f"{path}: 'classes' must be a list of strings, not {_describe(names)}")
    return list_arrays(
        arrays["images"],
        arrays["labels"],
        source=f"npz:{path}",
        classes=None if names is None else tuple(printable(str(name)) for name in names),
        stamp=file_stamp([path]),
    )


def list_arrays(
    images: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    source: str,
    classes: Sequence[str] | None,
    stamp: str,
) -> Listing:
    """List images (N, H, W, 3) and labels (N,) after checking both; `classes` None: they have no names."""
    check_images(images, source)
    checked = check_labels(labels, len(images), classes, source)
    rows = cast(Pixels, images)

    def read(index: int) -> tuple[Image.Image, bytes]:
        row = np.array(rows[index])
        if index % _KEPT == 0:
            release(rows)
        return Image.fromarray(row), row_digest(row)

    return Listing(
        source=source,
        classes=numerals(checked) if classes is None else tuple(classes),
        labels=checked,
        stamp=stamp,
        name=lambda index: f"{index:08d}",
        read=read,
        rows=rows,
        named=classes is not None,
    )


def row_digest(row: Pixels) -> bytes:
    """Sha256 of one image (H, W, 3), its shape included."""
    return hashlib.sha256(repr(row.shape).encode() + row.tobytes()).digest()


def check_images(images: npt.NDArray[Any], source: str) -> None:
    """Raise DataError unless `images` is uint8 (N, H, W, 3) with at least one image."""
    if images.dtype != np.uint8:
        hint = "; scale to 0–255 and convert" if images.dtype.kind == "f" else ""
        raise DataError(f"{source}: images must be uint8, not {images.dtype}{hint}")
    if images.ndim != 4 or images.shape[3] != 3:
        hint = "; move the channels last" if images.ndim == 4 and images.shape[1] == 3 else ""
        raise DataError(f"{source}: images must be (N, H, W, 3), not {images.shape}{hint}")
    if images.size == 0:
        raise DataError(f"{source}: holds no images (shape {images.shape})")
    if images.shape[1] * images.shape[2] > MAX_PIXELS:
        raise DataError(f"{source}: images of {images.shape[1]}×{images.shape[2]} px are beyond reason")


def check_labels(
    labels: npt.NDArray[Any], images: int, classes: Sequence[str] | None, source: str
) -> Indices:
    """Labels as int64 (N,), or DataError when they are no class indices for these images."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{source}: labels must be integers (N,), not {_describe(labels)}")
    if len(labels) != images:
        raise DataError(f"{source}: {images} images but {len(labels)} labels")
    count = MAX_CLASSES if classes is None else len(classes)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= count:
        raise DataError(f"{source}: label {low if low < 0 else high} lies outside 0…{count - 1}")
    return labels.astype(np.int64)


def check_memory(needed: int, source: str, remedy: str) -> None:
    """Raise DataError when `needed` bytes cannot fit into this machine's memory."""
    if not hasattr(os, "sysconf"):
        return  # only Windows lacks it; there the allocation itself fails
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise DataError(
            f"{source}: needs {needed / 2**30:.1f} GiB of memory, the machine has"
            f" {present / 2**30:.1f}; {remedy}"
        )


def map_npy(file: Path) -> npt.NDArray[Any]:
    """Memory-map an `.npy` file for reading; nothing is unpickled. Raises DataError."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except Exception as error:
        # Damaged headers raise ValueError, EOFError, SyntaxError, OverflowError, …
        raise DataError(f"{file}: not a readable npy file ({one_line(error)})") from error


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    wanted = ("images", "labels", "classes")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {key: _read_member(archive, members[key], path) for key in wanted if key in members}
            return found or dict.fromkeys(members, np.zeros(0))
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory; take a part of it") from error
    except Exception as error:
        # zipfile, zlib and numpy.lib.format each raise several kinds for a damaged file.
        raise DataError(
            f"{path}: not a readable npz file ({one_line(error)}); write it with numpy.savez"
        ) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> npt.NDArray[Any]:
    """One array, after its declared shape has been held against the size and the memory there is."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, columns_first, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise DataError(
                f"{path}: array '{printable(member.filename)}' has an unknown npy version {version}"
            )
        header = stream.tell()
    if dtype.hasobject:
        raise DataError(
            f"{path}: array '{printable(member.filename)}' holds Python objects, which are not read"
        )
    size = dtype.itemsize
    for side in shape:
        size *= int(side)
    if size < 0 or header + size != member.file_size:
        raise DataError(
            f"{path}: array '{printable(member.filename)}' claims shape {shape}, but is not of that length"
        )
    if size > LARGE and size > _MAX_RATIO * member.compress_size:
        raise DataError(
            f"{path}: array '{printable(member.filename)}' looks like a zip bomb ({size / 2**30:.1f} GiB)"
        )
    if size > LARGE and member.compress_type == zipfile.ZIP_STORED:
        offset = _start(path, member) + header
        return np.memmap(path, dtype, "r", offset, shape, "F" if columns_first else "C")
    check_memory(size, str(path), "write it with numpy.savez, which is read in place, or take a part of it")
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header of 30 bytes, a name and an extra field."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name) + int(extra)


def _describe(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(ascii(name) for name in listed[:6]) + (", …" if len(listed) > 6 else "") or "none"
