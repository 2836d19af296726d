"""Orders and subsets: pure index arithmetic, equal on every machine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.data.batches import drawn, shuffled, spans, subset
from lnbench.types import CLEAN, Condition

SEEDS = st.integers(-(2**63), 2**64)
LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(lambda values: np.array(values, np.int64))


def splitmix(word: int) -> int:
    """SplitMix64's output function on Python integers, independent of NumPy's wrapping."""
    mask = (1 << 64) - 1
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


@given(st.integers(0, 300), SEEDS)
def test_an_order_is_a_permutation_sorted_by_splitmix(n: int, seed: int) -> None:
    mask, step = (1 << 64) - 1, 0x9E3779B97F4A7C15
    start = splitmix((splitmix(seed & mask) + 1 * step) & mask)
    order = shuffled(n, seed)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(n), key=lambda i: splitmix((start + i * step) & mask))


def test_an_order_never_changes() -> None:
    # Recorded once: a run of last year must be continued in the same order.
    assert shuffled(10, 0).tolist() == [6, 8, 0, 9, 3, 1, 4, 2, 7, 5]
    assert shuffled(10, 1).tolist() == [8, 5, 1, 3, 9, 4, 0, 6, 7, 2]


def test_orders_of_neighbouring_seeds_are_unrelated() -> None:
    places = np.stack([np.argsort(shuffled(2000, seed)) for seed in range(8)])
    correlation = np.corrcoef(places) - np.eye(8)
    # Standard deviation of a sample correlation is 1/sqrt(2000) = 0.022; five of them for 28 pairs.
    assert np.abs(correlation).max() < 0.112


def test_a_draw_never_changes() -> None:
    assert drawn(10, 4, 0, CLEAN).tolist() == [0, 3, 8, 6]
    assert drawn(10, 4, 0, Condition("fog", 2.5), 3).tolist() == [2, 9, 5, 6]


def test_a_draw_takes_no_image_twice_and_all_of_them_where_asked() -> None:
    assert sorted(drawn(50, 50, 7, CLEAN)) == list(range(50))
    assert len(set(drawn(846, 32, 7, CLEAN).tolist())) == 32


def test_draws_of_other_conditions_seeds_and_numbers_are_unrelated() -> None:
    conditions = [CLEAN, *(Condition(name, s) for name in ("fog", "contrast") for s in (1, 2.5, 5))]
    draws = [drawn(2000, 500, seed, c, number) for seed in (0, 1) for c in conditions for number in (0, 1)]
    shared = [len(np.intersect1d(one, other)) for i, one in enumerate(draws) for other in draws[:i]]
    # Hypergeometric: 125 of 500 expected with standard deviation 8.4; five of them for 378 pairs.
    assert min(shared) > 125 - 42 and max(shared) < 125 + 42


@given(LABELS, st.integers(1, 100), SEEDS)
def test_a_subset_is_balanced(labels: np.ndarray, limit: int, seed: int) -> None:
    ids = subset(labels, limit, seed)
    assert len(ids) == min(limit, len(labels))
    assert (np.diff(ids) > 0).all()
    chosen = np.bincount(labels[ids], minlength=7)
    available = np.bincount(labels, minlength=7)
    # A class may fall short of the fullest one by more than one image only where it has no more.
    assert all(chosen[c] >= chosen.max() - 1 or chosen[c] == available[c] for c in range(7) if available[c])


@given(LABELS, SEEDS)
def test_smaller_subsets_lie_in_larger_ones(labels: np.ndarray, seed: int) -> None:
    subsets = [set(subset(labels, limit, seed).tolist()) for limit in range(1, len(labels) + 1)]
    assert all(small < large for small, large in pairwise(subsets))


def test_a_subset_depends_on_the_seed_and_takes_no_fixed_classes() -> None:
    labels = np.repeat(np.arange(50), 20)
    draws = [subset(labels, 60, seed) for seed in range(20)]
    assert len({tuple(draw) for draw in draws}) == 20
    extra = {int(c) for draw in draws for c in np.flatnonzero(np.bincount(labels[draw]) == 2)}
    assert len(extra) > 40  # 20 draws of 10 classes each miss a given class with probability 0.8^20 = 1 %


@given(st.integers(0, 200), st.integers(1, 250))
def test_spans_cover_everything_once(n: int, size: int) -> None:
    cut = spans(n, size)
    assert [i for start, stop in cut for i in range(start, stop)] == list(range(n))
    assert all(stop - start == size for start, stop in cut[:-1])


def test_spans_need_a_size() -> None:
    with pytest.raises(ValueError, match="positive size"):
        spans(4, 0)
