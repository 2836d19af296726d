"""Paired tests against SciPy and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lnbench.results.significance import (
    holm,
    mcnemar,
    mcnemar_interval,
    mean_interval,
    sign_flip,
)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_holds_for_many_images() -> None:
    assert mcnemar(20_000, 20_500) == pytest.approx(binomtest(20_000, 40_500).pvalue, rel=1e-7)
    assert 0 <= mcnemar(0, 50_000) < 1e-300


@given(st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_sign_flips_of_one_condition_are_mcnemar(lost: int, gained: int) -> None:
    """The exact p lies within what 20,000 draws can miss it by (5 standard errors)."""
    exact = mcnemar(lost, gained)
    found = sign_flip(np.array([-1.0] * lost + [1.0] * gained + [0.0] * 30))
    assert found == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_sign_flips_against_all_signs() -> None:
    """Every one of the 2^10 sign patterns written out."""
    differences = np.array([0.2, -0.1, 0.3, 0.3, -0.05, 0.15, 0.4, -0.2, 0.1, 0.25])
    signs = 1 - 2 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1)
    exact = (np.abs(signs @ np.abs(differences)) >= abs(differences.sum()) - 1e-12).mean()
    assert sign_flip(differences) == pytest.approx(exact, abs=0.006)  # 4 standard errors of 20,000 draws


def test_sign_flips_are_repeatable_and_two_sided() -> None:
    differences = np.random.default_rng(0).normal(0.05, 1, 300)
    assert sign_flip(differences) == sign_flip(differences)
    assert sign_flip(-differences) == pytest.approx(sign_flip(differences), abs=0.01)
    assert sign_flip(np.zeros(9)) == 1.0


def test_copies_of_a_condition_add_no_significance() -> None:
    one = np.array([-1.0] * 9 + [1.0] * 2 + [0.0] * 50)
    assert sign_flip(one) == pytest.approx(sign_flip(sum([one / 5] * 5, np.zeros(61))), abs=0.005)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_order_and_never_lowers(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= v for a, v in zip(adjusted, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    assert max(adjusted) <= 1


@pytest.mark.parametrize("lost_rate, gained_rate", [(0.02, 0.02), (0.05, 0.01), (0.0, 0.004), (0.2, 0.1)])
def test_the_paired_interval_covers(lost_rate: float, gained_rate: float) -> None:
    """At least 93 % of 95 % intervals hold the true change, for 200 images, 3,000 draws (SE 0.4 %)."""
    generator = np.random.default_rng(1)
    counts = generator.multinomial(200, [lost_rate, gained_rate, 1 - lost_rate - gained_rate], 3000)
    truth = gained_rate - lost_rate
    hits = [
        low <= truth <= high for low, high in (mcnemar_interval(*row[:2], 200) for row in counts.tolist())
    ]
    assert np.mean(hits) > 0.93


def test_intervals_of_no_change() -> None:
    low, high = mcnemar_interval(0, 0, 100)
    assert low == -high < 0
    assert mean_interval(np.zeros(10)) == (0.0, 0.0)
    assert mean_interval(np.array([0.5])) == (0.5, 0.5)
