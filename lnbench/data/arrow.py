"""Images and labels in Arrow tables, as Hugging Face's data sets hold them: columns and cells."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lnbench.data.decode import Unreadable
from lnbench.data.encoded import check_size
from lnbench.data.folder import read_file
from lnbench.errors import DataError
from lnbench.files import one_line, reason

_IMAGES = ("image", "img", "jpg", "png", "webp")  # columns, the first that is there
_LABELS = ("label", "labels", "wnid", "synset", "cls", "class", "target", "fine_label")
_ROWS = 8  # read at a time
_KEPT = 2 + 2 * (os.cpu_count() or 1)  # times that, for the threads that are behind


class Columns(NamedTuple):
    """The columns of images and labels; `names` of the classes, by label, where the table says them."""

    image: str
    label: str
    names: tuple[str, ...] | None


def columns(schema: pa.Schema, where: str) -> Columns:
    """Find the images, their bytes or `{bytes, path}`, and the labels, whole numbers or names. DataError."""
    kinds = {field.name: field.type for field in schema}
    images = [name for name, kind in kinds.items() if _holds_images(kind)]
    image = next((name for name in _IMAGES if name in images), images[0] if len(images) == 1 else None)
    fitting = [name for name, kind in kinds.items() if _holds_labels(kind)]
    numbers = [name for name in fitting if pa.types.is_integer(kinds[name])]
    label = next((name for name in _LABELS if name in fitting), numbers[0] if len(numbers) == 1 else None)
    if image is None or label is None:
        what = "images (their bytes, or {bytes, path})" if image is None else f"labels ({', '.join(_LABELS)})"
        listed = one_line(", ".join(f"{name}: {kind}" for name, kind in kinds.items()), 200)
        raise DataError(f"{where}: no column of {what} among {listed}")
    return Columns(image, label, _names(schema, label))


def label_values(values: Sequence[object], where: str) -> list[int | str]:
    """Labels as Python has them. Raises DataError for one that is missing."""
    for row, value in enumerate(values):
        if value is None:
            raise DataError(f"{where}: row {row} has no label")
    return [value if isinstance(value, int) else str(value) for value in values]


def image_bytes(value: object) -> bytes:
    """The bytes of an image file in a cell, or of the local file it names. Raises `Unreadable`."""
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(data, bytes):
        check_size(len(data))
        return data
    if isinstance(path, str) and Path(path).is_absolute():
        return read_file(Path(path))
    raise Unreadable("no image in this row")


class Cells:
    """The cells of one column of several parquet files, read forward in small parts; safe in threads.

    A row group may hold a whole file, so it is read by pages, as small as its writer made them. Going back
    is possible, and slow.
    """

    def __init__(self, files: Sequence[Path], counts: Sequence[int], column: str) -> None:
        self._files, self._column = files, column
        self._ends = np.cumsum(counts)
        self._lock = Lock()
        self._file: Any = None
        self._parts: Any = iter(())
        self._reading, self._next = -1, 0  # number of the file, and its row that is read next
        self._kept: deque[tuple[int, int, Any]] = deque(maxlen=_KEPT)  # file, first row, cells

    def at(self, index: int) -> object:
        """The cell of a row, counted over all files. Raises DataError."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[number - 1]) if number else 0)
        with self._lock:
            for file, first, cells in self._kept:
                if file == number and first <= row < first + len(cells):
                    return cells[row - first].as_py()
            try:
                return self._read(number, row)
            except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
                raise DataError(f"{self._files[number]}: damaged near row {row}: {reason(error)}") from error

    def _read(self, number: int, row: int) -> object:
        if number != self._reading:
            self._file = pq.ParquetFile(self._files[number], buffer_size=1 << 20, pre_buffer=False)
        groups = self._file.metadata
        first, group = 0, 0
        while first + groups.row_group(group).num_rows <= row:
            first += groups.row_group(group).num_rows
            group += 1
        if number != self._reading or row < self._next or first > self._next:
            rest = list(range(group, groups.num_row_groups))
            self._parts = self._file.iter_batches(_ROWS, rest, [self._column])
            self._reading, self._next = number, first
        while True:
            cells = next(self._parts).column(0)
            self._kept.append((number, self._next, cells))
            self._next += len(cells)
            if row < self._next:
                return cells[row - (self._next - len(cells))].as_py()


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_labels(kind.value_type)
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Names of the classes from the note that `datasets` leaves in its tables."""
    try:
        note = json.loads((schema.metadata or {})[b"huggingface"])
        names = note["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
