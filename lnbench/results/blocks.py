"""What a run in rounds has counted of cells that are not finished: a line for each block of each cell.

`blocks.jsonl` lies beside `cells.jsonl` and is kept like it: append-only, lines that hold each other, a torn
last one cut off. It goes when all cells are finished.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, model_validator

from lnbench.errors import RecordError
from lnbench.files import append_whole, one_line
from lnbench.metrics import METRICS
from lnbench.results import chain
from lnbench.results.bits import pack, unpack
from lnbench.results.reading import BLOCKS, parse
from lnbench.results.schema import STRICT, Run, Severity
from lnbench.types import Condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = tuple[str, Condition]


class Block(BaseModel):
    """The images `start` to `stop` of the seeded order, counted in one cell.

    `sums`: base64 of float64, little-endian, of the cell up to `stop`; `seconds` and `counts` of this block;
    `batch_size` as in a cell; `correct`: its bits, in the order's order.
    """

    model_config = STRICT

    mode: str = Field(min_length=1)
    corruption: str = Field(min_length=1)
    severity: Severity
    start: int = Field(ge=0)
    stop: int = Field(ge=1)
    sums: str
    seconds: float = Field(ge=0)
    counts: dict[str, float] = {}
    batch_size: int | None = Field(default=None, ge=1)
    correct: str

    @model_validator(mode="after")
    def _is_not_empty(self) -> Block:
        if self.stop <= self.start:
            raise ValueError("stop is not after start")
        return self

    @property
    def key(self) -> Key:
        return self.mode, Condition(self.corruption, self.severity)


@dataclass(frozen=True)
class Counted:
    """A cell up to some image of the order: sums float64 (SIZE,), flags bool (stop,) along the order."""

    stop: int
    sums: NDArray[np.float64]
    seconds: float
    counts: Mapping[str, float]
    flags: NDArray[np.bool_]
    batch_size: int | None


class Blocks:
    """The blocks of one run, in a folder or in memory alone; not `repair`: read beside who writes them."""

    def __init__(self, folder: Path | None, run: Run, *, repair: bool = True) -> None:
        self._file = None if folder is None else folder / BLOCKS
        self._run = run
        self._parts: dict[Key, list[Counted]] = {}
        self._last = chain.start(run.model.sha256, run.data.fingerprint, "blocks")
        if self._file is not None:
            expected = set(run.suite.keys)

            def accept(text: bytes) -> None:
                block = parse(Block, text, "not a block")
                if block.key not in expected or block.stop > run.data.images:
                    raise RecordError(f"block of {one_line(block.mode, 80)} does not belong there")
                self._add(block)

            self._last = chain.read_lines(self._file, self._last, accept, repair=repair)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def parts(self, key: Key) -> Sequence[Counted]:
        """What is known of a cell, each part longer than the one before."""
        return self._parts.get(key, ())

    def append(self, blocks: Sequence[Block]) -> None:
        """Add blocks (all modes of one condition) in one flushed write. RecordError when the disk refuses."""
        lines, last = [], self._last
        for block in blocks:
            line, last = chain.link(last, block.model_dump_json())
            lines.append(line)
        if self._file is not None:
            append_whole(self._file, b"".join(lines))
        self._last = last
        for block in blocks:
            self._add(block)

    def remove(self) -> None:
        """Every cell is finished: nothing is left that these lines were for."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        self._parts.clear()

    def _add(self, block: Block) -> None:
        import numpy as np

        before = self.parts(block.key)
        whole = before[-1] if before else None
        if block.start != (0 if whole is None else whole.stop):
            raise RecordError(f"block {block.start} of {one_line(block.mode, 80)} does not follow")
        flags = unpack(block.correct, block.stop - block.start)
        counts = dict(block.counts)
        for name, value in ({} if whole is None else whole.counts).items():
            counts[name] = counts.get(name, 0.0) + value
        part = Counted(
            block.stop,
            _sums(block.sums),
            block.seconds + (0.0 if whole is None else whole.seconds),
            counts,
            flags if whole is None else np.concatenate([whole.flags, flags]),
            block.batch_size,
        )
        if round(float(part.sums[0])) != part.stop or _right(part.sums) != int(part.flags.sum()):
            raise RecordError("its sums and its bits do not fit each other")
        self._parts.setdefault(block.key, []).append(part)


def make(
    key: Key,
    span: range,
    sums: NDArray[np.float64],
    seconds: float,
    counts: Mapping[str, float],
    flags: NDArray[np.bool_],
    batch_size: int | None,
) -> Block:
    """A block from what was counted: sums up to its end, flags bool (len(span),) along the order."""
    mode, condition = key
    text = base64.b64encode(sums.astype("<f8").tobytes()).decode("ascii")
    return Block(
        mode=mode,
        corruption=condition.corruption,
        severity=condition.severity,
        start=span.start,
        stop=span.stop,
        sums=text,
        seconds=round(seconds, 4),
        counts=dict(counts),
        batch_size=batch_size,
        correct=pack(flags),
    )


def _sums(text: str) -> NDArray[np.float64]:
    import numpy as np

    try:
        found = np.frombuffer(base64.b64decode(text.encode("ascii"), validate=True), "<f8")
    except (ValueError, binascii.Error, UnicodeEncodeError):
        raise RecordError("sums are not base64 of float64") from None
    if len(found) != 2 + sum(each.size for each in METRICS.values()):
        raise RecordError("sums of other metrics than there are here: give --fresh to begin again")
    return found.astype(np.float64)


def _right(sums: NDArray[np.float64]) -> int:
    """The images that are right: the sum of top1, wherever it stands among the metrics."""
    at = 1
    for name, each in METRICS.items():
        if name == "top1":
            return round(float(sums[at]))
        at += each.size
    raise ValueError("top1 is no metric")
