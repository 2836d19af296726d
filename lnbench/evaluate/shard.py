"""Who computes what: conditions dealt to shards, chunks and batches dealt to processes. Pure arithmetic.

The grids of chunks and batches are those of one process; only their owner changes, so every count is made
of the same sums however many processes there are. Each process gets a contiguous run of both grids: the
images of its chunks and of its batches are nearly the same, and it corrupts few of them in vain.
"""

from __future__ import annotations

from dataclasses import dataclass

from lnbench.errors import UsageError

# A window grows until at most this share of the processes' time is spent waiting for its end.
_IDLE = 0.05


@dataclass(frozen=True)
class Share:
    """One process's part of one condition: numbers of chunks and of batches."""

    chunks: range
    batches: range

    def __bool__(self) -> bool:
        return bool(self.chunks or self.batches)


def deal(units: int, conditions: int, rank: int, world: int) -> list[range]:
    """The units (numbered from 0 in each condition) of `rank`, for each condition of a window.

    All units of the window, condition after condition, are cut into `world` runs whose lengths differ by
    at most one.
    """
    total = units * conditions
    start, stop = rank * total // world, (rank + 1) * total // world
    return [
        range(*(min(max(edge - number * units, 0), units) for edge in (start, stop)))
        for number in range(conditions)
    ]


def shares(chunks: int, batches: int, conditions: int, rank: int, world: int) -> list[Share]:
    """The part of `rank` in each condition of a window."""
    return [
        Share(*pair)
        for pair in zip(
            deal(chunks, conditions, rank, world), deal(batches, conditions, rank, world), strict=True
        )
    ]


def idle(units: int, world: int) -> float:
    """The share of all processes' time that is spent waiting while `units` equal units are computed."""
    return 1 - units / (world * -(-units // world)) if units else 0.0


def window(chunks: int, batches: int, world: int, left: int) -> int:
    """How many of the `left` conditions to deal at once.

    One where that keeps everybody busy, since what is in flight is what an interruption loses; more where
    a condition has too few chunks or batches for all. `chunks`, `batches`: of one condition, 0 where there
    are none to compute.
    """

    def waste(count: int) -> float:
        return max(idle(chunks * count, world), idle(batches * count, world))

    for count in range(1, left + 1):
        if waste(count) <= _IDLE:
            return count
    return min(range(1, left + 1), key=waste)


def shard(conditions: int, number: int, of: int) -> range:
    """Which of the conditions, numbered from 0, belong to shard `number` of `of` (from 1): dealt in turn.

    In turn, because neighbours in the order (the severities of one corruption) cost about the same. Raises
    UsageError where there are more shards than conditions.
    """
    if number > conditions:
        raise UsageError(
            f"--shard {number}/{of}: there are only {conditions} conditions; use n of at most {conditions}"
        )
    return range(number - 1, conditions, of)
