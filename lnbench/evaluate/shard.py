"""Who computes what: conditions to shards; chunks, batches and streams to processes. Pure arithmetic.

The grids of chunks and batches are those of one process; only their owner changes, so every count is made
of the same sums however many processes there are. Each process gets a contiguous run of both grids: the
images of its chunks and of its batches are nearly the same, and it corrupts few of them in vain. A stream
goes whole to one process, since each of its batches depends on all before it.
"""

from __future__ import annotations

from typing import NamedTuple

from lnbench.errors import UsageError

# A window grows until at most this share of the processes' time is spent waiting for its end.
_IDLE = 0.05


class Load(NamedTuple):
    """What a condition holds: chunks, batches and streams, 0 where there are none to compute."""

    chunks: int
    batches: int
    streams: int = 0


class Part(NamedTuple):
    """One process's part of one condition: numbers of chunks, of batches and of streams."""

    chunks: range
    batches: range
    streams: range = range(0)


def split(units: int, conditions: int, rank: int, world: int) -> list[range]:
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


def parts(load: Load, conditions: int, rank: int, world: int) -> list[Part]:
    """The part of `rank` in each condition of a window."""
    return [
        Part(*one) for one in zip(*(split(units, conditions, rank, world) for units in load), strict=True)
    ]


def whole_streams(streams: int, rank: int, world: int) -> range:
    """Which of the streams are `rank`'s where each goes on from condition to condition."""
    return split(streams, 1, rank, world)[0]


def idle(units: int, world: int) -> float:
    """The share of all processes' time that is spent waiting while `units` equal units are computed."""
    return 1 - units / (world * -(-units // world)) if units else 0.0


def window(load: Load, world: int, left: int) -> int:
    """How many of the `left` conditions to compute at once.

    One where that keeps everybody busy, since what is in flight is what an interruption loses; more where
    a condition has too little for all. `load`: of one condition.
    """

    def waste(count: int) -> float:
        return max(idle(units * count, world) for units in load)

    for count in range(1, left + 1):
        if waste(count) <= _IDLE:
            return count
    return min(range(1, left + 1), key=waste)


def conditions_of(conditions: int, number: int, of: int) -> range:
    """Which of the conditions, numbered from 0, belong to shard `number` of `of` (from 1): taken in turn.

    In turn, because neighbours in the order (the severities of one corruption) cost about the same. Raises
    UsageError where there are more shards than conditions.
    """
    if number > conditions:
        raise UsageError(
            f"--shard {number}/{of}: there are only {conditions} conditions; use n of at most {conditions}"
        )
    return range(number - 1, conditions, of)
