"""Which image comes when: seeded orders and balanced subsets, as pure index arithmetic.

Orders come from a counter-based hash of (seed, index), not from NumPy's generators: the streams of
those may change between releases, and an order is part of a recorded result.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

# One stream for each purpose, so that a subset and a shuffle of one seed are unrelated.
_SHUFFLE, _SUBSET, _CLASSES = 1, 2, 3

_STEP = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64: Steele, Lea and Flood, OOPSLA 2014
_WORD = (1 << 64) - 1


def _mixed(words: Words) -> Words:
    """The output function of SplitMix64, on a uint64 array (wraps on overflow)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


def _hashes(indices: Indices, seed: int, stream: int) -> Words:
    """64 random bits for each index (any int64), the same on every platform and NumPy release."""
    start = _mixed(_mixed(np.array([seed & _WORD], np.uint64)) + np.array([stream], np.uint64) * _STEP)
    return _mixed(start + indices.astype(np.uint64) * _STEP)


def shuffled(n: int, seed: int) -> Indices:
    """A seeded permutation of 0 … n-1, int64 (n,); the same on every machine and release."""
    indices = np.arange(n, dtype=np.int64)
    return np.argsort(_hashes(indices, seed, _SHUFFLE), kind="stable").astype(np.int64)


def subset(labels: Indices, limit: int, seed: int) -> Indices:
    """The ids of a seeded, class-balanced subset of `limit` images, ascending, int64 (≤ limit,).

    Counts per class differ by at most one, except for classes that have no more images. A smaller
    limit with the same seed takes a subset of a larger one.
    """
    n = len(labels)
    by_class = np.lexsort((_hashes(np.arange(n, dtype=np.int64), seed, _SUBSET), labels))
    names, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.arange(n) - np.repeat(starts, counts)  # place of an image among those of its class
    tie = np.repeat(_hashes(names.astype(np.int64), seed, _CLASSES), counts)
    # Taking images turn by turn, one from each class, balances the classes; where the last turn is
    # cut, a seeded order of the classes decides who gets in.
    chosen = by_class[np.lexsort((tie, turn))[:limit]]
    return np.sort(chosen).astype(np.int64)


def spans(n: int, size: int) -> list[tuple[int, int]]:
    """Cut 0 … n into consecutive (start, stop) of at most `size`; the last may be shorter."""
    if size < 1:
        raise ValueError(f"a span needs a positive size, not {size}")
    return [(start, min(start + size, n)) for start in range(0, n, size)]
