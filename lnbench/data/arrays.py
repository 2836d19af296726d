"""Datasets that are arrays already: checked, listed, left in their files."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from lnbench.data.decode import MAX_PIXELS
from lnbench.data.rows import FileRows
from lnbench.data.store import Listing, Pixels, numerals
from lnbench.errors import DataError
from lnbench.files import reason, regular
from lnbench.hashing import Indices

MAX_CLASSES = 1_000_000  # a label beyond this is a mistake, not a class
LARGE = 1 << 28  # bytes from which an array is worth leaving in its file


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
        return Image.fromarray(row), row_digest(row)

    return Listing(
        source=source,
        classes=numerals(checked) if classes is None else tuple(classes),
        labels=checked,
        stamp=stamp,
        name=lambda index: f"{index:08d}",
        read=read,
        digest=lambda index: row_digest(np.array(rows[index])),
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
        raise DataError(f"{source}: labels must be integers (N,), not {describe(labels)}")
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


def open_npy(file: Path) -> npt.NDArray[Any]:
    """An `.npy` file's array, left in the file but for one laid out by columns; nothing is unpickled.

    Raises DataError.
    """
    try:
        with regular(file) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2_0
            shape, columns_first, dtype = read(stream)
            offset, size = stream.tell(), os.fstat(stream.fileno()).st_size
        if dtype.hasobject or min(shape, default=1) < 0:
            raise ValueError("Python objects, which are not read" if dtype.hasobject else f"shape {shape}")
        if offset + math.prod(map(int, shape)) * dtype.itemsize > size:
            raise ValueError(f"it claims shape {shape}, and ends before")
        rows = FileRows(file, offset, tuple(shape) or (1,), dtype)
        if shape and not (columns_first and len(shape) > 1):
            return cast("npt.NDArray[Any]", rows)
        check_memory(rows.nbytes, str(file), "save it by rows (C order)")
        return np.asarray(rows).reshape(shape, order="F")
    except DataError:
        raise
    except Exception as error:
        # Damaged headers raise ValueError, EOFError, SyntaxError, OverflowError, …
        raise DataError(f"{file}: not a readable npy file ({reason(error)})") from error


def read_npy(file: Path, *, most: int) -> npt.NDArray[Any]:
    """An `.npy` file's array of at most `most` bytes, in memory. Raises DataError."""
    found = open_npy(file)
    if found.nbytes > most:
        raise DataError(f"{file}: {found.nbytes / 2**20:,.0f} MiB, which is beyond reason here")
    return np.asarray(found)


def _header_2_0(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    return np.lib.format.read_array_header_2_0(stream)  # ValueError for versions that it does not know


def describe(array: npt.NDArray[Any]) -> str:
    """Type and shape, for messages."""
    return f"{array.dtype} {array.shape}"
