"""An array that stays in its file: read where asked for, not mapped into memory.

A mapped file that somebody cuts short kills the program that looks at it (SIGBUS), and no code of ours can
say why. A read that comes back short is a line.
"""

from __future__ import annotations

import math
import operator
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lnbench.errors import DataError
from lnbench.files import one_line, reason, regular


class FileRows:
    """Rows (N, ...) of one type, row after row from byte `offset` of a file on; safe in threads.

    Indexed by a number, by numbers (n,) or by a slice without a step, as NumPy's arrays are: the first two
    read, a slice is another view. `shape`, `dtype`, `ndim`, `size` and `nbytes` are as NumPy's.
    Raises OSError where the file cannot be opened, DataError where it ends before its rows do.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._path, self._offset = path, offset
        self._file = regular(path)
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step != 1:
                raise IndexError("a step is not supported")
            return self._part(first, max(first, end))
        numbers = np.asarray(index)
        if numbers.ndim == 0:
            return self._read(operator.index(index), 1)[0]
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        # Neighbours in one read: an unshuffled chunk, or a sorted one, is a few.
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for start, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(numbers)], strict=True):
            if end > start:
                found[start:end] = self._read(int(numbers[start]), end - start)
        return found

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self._read(0, len(self)).astype(self.dtype if dtype is None else dtype, copy=False)

    def _part(self, first: int, end: int) -> FileRows:
        offset = self._offset + first * self._row_bytes()
        return FileRows(self._path, offset, (end - first, *self.shape[1:]), self.dtype)

    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def _read(self, first: int, count: int) -> npt.NDArray[Any]:
        first += len(self) if first < 0 else 0
        if not 0 <= first <= first + count <= len(self):
            raise IndexError(f"row {first} of {len(self)}")
        found = np.empty((count, *self.shape[1:]), self.dtype)
        try:
            with self._lock:
                self._file.seek(self._offset + first * self._row_bytes())
                got = self._file.readinto(found.reshape(-1).view(np.uint8).data) if found.size else 0
        except OSError as error:
            raise DataError(f"{one_line(self._path)}: cannot be read: {reason(error)}") from None
        if got != found.nbytes:
            raise DataError(
                f"{one_line(self._path)} ends within row {first + got // self._row_bytes()} of {len(self)}:"
                " it was cut short; the same command goes on once it is whole (a cache is made anew)"
            )
        return found
