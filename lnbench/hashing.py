"""Random bits from a counter, for orders and draws: a function of (seed, index), the same everywhere.

The streams of NumPy's generators may change between releases, and an order is part of a recorded result.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

# One stream for each purpose, so that a subset and a shuffle of one seed are unrelated.
SHUFFLE, SUBSET, CLASSES, DRAW, ANSWER = 1, 2, 3, 4, 5

_STEP = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64: Steele, Lea and Flood, OOPSLA 2014
_WORD = (1 << 64) - 1


def _mixed(words: Words) -> Words:
    """The output function of SplitMix64, on a uint64 array (wraps on overflow)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


def hashes(indices: Indices, seed: int, stream: int) -> Words:
    """64 random bits for each index (any int64), the same on every platform and NumPy release."""
    start = _mixed(_mixed(np.array([seed & _WORD], np.uint64)) + np.array([stream], np.uint64) * _STEP)
    return _mixed(start + indices.astype(np.uint64) * _STEP)


def order(count: int, seed: int, stream: int) -> Indices:
    """A seeded permutation of 0 … count-1, int64 (count,); another for each stream."""
    indices = np.arange(count, dtype=np.int64)
    return np.argsort(hashes(indices, seed, stream), kind="stable").astype(np.int64)
