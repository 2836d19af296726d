"""Which image each cell got right: the evidence behind paired tests and per-class losses."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.errors import RecordError
from lnbench.files import read_bytes
from lnbench.results.bits import places, unpack
from lnbench.results.reading import CORRECT, locate
from lnbench.results.schema import Cell, Record
from lnbench.types import Condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Key = tuple[str, Condition]


@dataclass(frozen=True)
class Correct:
    """Correctness flags of each cell, bool (N,); `labels` and `ids` int64 (N,), None when unknown.

    `own`: ids, int64 (n,), of the cells that counted other images than these.
    """

    flags: dict[Key, NDArray[np.bool_]]
    labels: NDArray[np.int64] | None = None
    ids: NDArray[np.int64] | None = None
    own: Mapping[Key, NDArray[np.int64]] = field(default_factory=dict)

    def to_npz(self) -> bytes:
        """`correct.npz`: `cells` (names), `images` (M,), `bits` uint8 (M, bytes), `labels`, `ids`."""
        import numpy as np

        images = [len(flags) for flags in self.flags.values()]
        bits = np.zeros((len(images), (max(images, default=0) + 7) // 8), np.uint8)
        for row, flags in zip(bits, self.flags.values(), strict=True):
            packed = np.packbits(flags)
            row[: len(packed)] = packed
        arrays = {
            "cells": np.array([f"{mode}/{condition}" for mode, condition in self.flags], dtype=np.str_),
            "images": np.array(images, np.int64),
            "bits": bits,
        }
        if self.labels is not None and self.ids is not None:
            arrays |= {"labels": self.labels, "ids": self.ids}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def from_cells(
    cells: Iterable[Cell], *, labels: ArrayLike | None = None, ids: ArrayLike | None = None
) -> Correct:
    """Gather the bits that cells carry; cells without bits are left out."""
    import numpy as np

    cells = tuple(cells)
    flags = {cell.key: unpack(cell.correct, cell.images) for cell in cells if cell.correct is not None}
    return Correct(
        flags,
        None if labels is None else np.asarray(labels, np.int64).reshape(-1),
        None if ids is None else np.asarray(ids, np.int64).reshape(-1),
        own_ids(cells),
    )


def own_ids(cells: Iterable[Cell]) -> dict[Key, NDArray[np.int64]]:
    """The image ids of the cells that name theirs."""
    return {cell.key: places(cell.counted, cell.images) for cell in cells if cell.counted is not None}


def check_count(cell: Cell, right: int, where: str) -> None:
    """RecordError when a cell's rate is not its number of right images over its images."""
    if abs(cell.top1 * cell.images - right) > 1e-6 * cell.images:  # a rate may come from float32 sums
        raise RecordError(
            f"{where}: cell {cell.name} says top1 {cell.top1:.6g}, its bits say {right}/{cell.images}: "
            "the record is damaged or was changed"
        )


def read_correct(path: str | Path, record: Record) -> Correct | None:
    """The evidence that lies with a record, or None where there is none.

    RecordError when `correct.npz` is damaged or does not fit the record's rates.
    """
    if record.unfinished or (record.rounds and all(cell.correct is not None for cell in record.cells)):
        return from_cells(record.cells)
    file = locate(Path(path))
    if any(cell.correct is not None for cell in record.cells):
        found = from_cells(record.cells)
    elif (file.parent / CORRECT).is_file():
        file = file.parent / CORRECT
        found = _load(file, record.cells)
    else:
        return None
    for cell in record.cells:
        if cell.key in found.flags:
            check_count(cell, int(found.flags[cell.key].sum()), str(file))
    return found


def _most_bytes(cells: Sequence[Cell]) -> int:
    """What the arrays of these cells can take: bits, labels, ids and names, with room to spare."""
    images = max((cell.images for cell in cells), default=0)
    names = max((len(cell.name) for cell in cells), default=0)
    return (1 << 20) + 2 * (len(cells) * (images // 8 + 16 + 4 * names) + 16 * images)


def _load(file: Path, cells: Sequence[Cell]) -> Correct:
    import numpy as np

    packed = read_bytes(file)
    try:
        # An archive says how large it is unpacked, and Python's reader stops there.
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _most_bytes(cells):
                raise ValueError("larger than its cells need")
        with np.load(io.BytesIO(packed), allow_pickle=False) as content:
            names, images, bits = (content[name] for name in ("cells", "images", "bits"))
            labels, ids = (
                content[name].astype(np.int64) if name in content else None for name in ("labels", "ids")
            )
        if labels is not None and (ids is None or labels.ndim != 1 or labels.shape != ids.shape):
            raise ValueError("labels and ids that do not fit each other")
        rows = {
            str(name): np.unpackbits(row, count=int(count)).astype(bool)
            for name, count, row in zip(names, images, bits, strict=True)
        }
    except (
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        MemoryError,
        OSError,
        NotImplementedError,
        RuntimeError,
    ):
        raise RecordError(f"{file} is damaged: remove it to go on without per-image tests") from None
    flags = {cell.key: rows[cell.name] for cell in cells if cell.name in rows}
    for cell in cells:
        if len(flags.get(cell.key, ())) != cell.images:
            raise RecordError(f"{file} does not belong to this record: cell {cell.name} does not fit")
    return Correct(flags, labels, ids, own_ids(cells))
