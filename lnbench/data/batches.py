"""Which image comes when: seeded orders, draws and balanced subsets, as pure index arithmetic."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from lnbench.hashing import CLASSES, DRAW, SHUFFLE, SUBSET, Indices, hashes, order
from lnbench.types import Condition


def shuffled(n: int, seed: int) -> Indices:
    """A seeded permutation of 0 … n-1, int64 (n,); the same on every machine and release."""
    return order(n, seed, SHUFFLE)


def drawn(n: int, count: int, seed: int, condition: Condition, number: int = 0) -> Indices:
    """`count` of the images 0 … n-1, none twice: draw `number` of a condition, int64 (count,).

    A function of its arguments alone; draws of other conditions, seeds or numbers are independent of it.
    """
    name = blake2b(f"{seed}/{condition}/{number}".encode(), digest_size=8).digest()
    return order(n, int.from_bytes(name, "little"), DRAW)[:count]


def subset(labels: Indices, limit: int, seed: int) -> Indices:
    """The ids of a seeded, class-balanced subset of `limit` images, ascending, int64 (≤ limit,).

    Counts per class differ by at most one, except for classes that have no more images. A smaller
    limit with the same seed takes a subset of a larger one.
    """
    n = len(labels)
    by_class = np.lexsort((hashes(np.arange(n, dtype=np.int64), seed, SUBSET), labels))
    names, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.arange(n) - np.repeat(starts, counts)  # place of an image among those of its class
    tie = np.repeat(hashes(names.astype(np.int64), seed, CLASSES), counts)
    # Taking images turn by turn, one from each class, balances the classes; where the last turn is
    # cut, a seeded order of the classes decides who gets in.
    chosen = by_class[np.lexsort((tie, turn))[:limit]]
    return np.sort(chosen).astype(np.int64)


def spans(n: int, size: int) -> list[tuple[int, int]]:
    """Cut 0 … n into consecutive (start, stop) of at most `size`; the last may be shorter.

    Raises ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"a span needs a positive size, not {size}")
    return [(start, min(start + size, n)) for start in range(0, n, size)]
