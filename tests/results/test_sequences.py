"""Confidence sequences: against the definition taken literally, as martingales, by how often they fail."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lnbench.results import sequences


def literal_capital(values: list[float], population: int, mean: float) -> list[float]:
    """The capital after each value, from the definition, with one loop for everything."""
    found = []
    capitals = [1.0, 1.0, 1.0]
    means: list[float] = []
    for i, value in enumerate(values, 1):
        before = values[: i - 1]
        expected = (population * mean - sum(before)) / (population - i + 1)
        if expected < 0:
            return found + [math.inf] * (len(values) - len(found))
        variance = (0.25 + sum((x - own) ** 2 for x, own in zip(before, means, strict=True))) / i
        for k, images in enumerate((2_000, 8_000, 32_000)):
            bet = population / (population - i + 1) * math.sqrt(2 * math.log(40) / images / variance)
            capitals[k] *= 1 + min(bet, 0.75 / max(expected, 1e-12)) * (value - expected)
        means.append((0.5 + sum(values[:i])) / (i + 1))
        found.append(sum(capitals) / 3)
    return found


def literal_interval(values: list[float], population: int, grid: int) -> tuple[float, float]:
    """The candidate means that neither capital ever refuted, at the moments that are looked at."""
    looks = [i for i in range(len(values)) if (i + 1) % sequences.LOOK == 0 or i == len(values) - 1]
    kept = []
    for k in range(grid + 1):
        more = literal_capital(values, population, k / grid)
        less = literal_capital([1 - x for x in values], population, 1 - k / grid)
        possible = (
            sum(values) - 1e-9 <= population * k / grid <= population - sum(1 - x for x in values) + 1e-9
        )
        if possible and all(max(more[i], less[i]) < 2 / 0.045 for i in looks):
            kept.append(k / grid)
    return kept[0], kept[-1]


@pytest.mark.parametrize("kind", ["thirds", "bits", "ones", "rare"])
def test_the_interval_is_the_means_that_the_definition_leaves(kind: str) -> None:
    random = np.random.default_rng(5)
    population = {
        "thirds": random.integers(0, 4, 120) / 3,
        "bits": (random.random(120) < 0.8) * 1.0,
        "ones": np.ones(120),
        "rare": (random.random(120) < 0.02) * 1.0,
    }[kind]
    for seen in (5, 37, 110):
        values = population[:seen]
        low, high = sequences.interval(values, 120)
        low_grid, high_grid = literal_interval(values.tolist(), 120, 240)
        assert low_grid - 1 / 240 <= low <= low_grid + 1e-9
        assert high_grid - 1e-9 <= high <= high_grid + 1 / 240


def test_the_capital_is_that_of_the_definition() -> None:
    values = np.random.default_rng(0).random(70)
    found = np.exp(sequences.log_capital(values, 100, 0.45))
    literal = literal_capital(values.tolist(), 100, 0.45)
    looks = [15, 31, 47, 63, 69]
    np.testing.assert_allclose(found, [literal[i] for i in looks], rtol=1e-10)


def _all_orders(population: list[float]) -> np.ndarray:
    return np.array(list(itertools.permutations(population)))


@pytest.mark.parametrize("population", [[0, 0, 1, 1, 1, 0.5], [0.2, 0.9, 0.4, 0.4, 0, 1], [0, 0, 0, 0, 0, 1]])
def test_the_capital_against_the_true_mean_is_a_martingale(
    population: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "LOOK", 1)
    orders = _all_orders(population)
    capital = np.exp(sequences.log_capital(orders, 6, float(np.mean(population))))
    np.testing.assert_allclose(capital.mean(0), 1, rtol=1e-9)


def test_bets_that_know_the_value_they_bet_on_are_no_martingale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "LOOK", 1)
    orders = _all_orders([0, 0, 1, 1, 1, 0.5])
    late = np.roll(sequences.bets(orders, 6), -1, axis=1)
    capital = np.exp(sequences.log_capital(orders, 6, float(orders[0].mean()), late))
    assert abs(capital.mean(0) - 1).max() > 1e-3


def _orders(population: np.ndarray, count: int) -> np.ndarray:
    random = np.random.default_rng(11)
    return np.stack([random.permutation(population) for _ in range(count)])


def _ever_leaves(orders: np.ndarray, shift: float = 0.0) -> float:
    """The share of orders in which the mean of the set is out at some moment."""
    mean, count = float(orders[0].mean()), orders.shape[1]
    passed = math.log(2 / 0.045) - shift
    more = sequences.log_capital(orders, count, mean).max(-1)
    less = sequences.log_capital(1 - orders, count, 1 - mean).max(-1)
    return float((np.maximum(more, less) >= passed).mean())


@pytest.mark.parametrize("rate", [0.03, 0.5, 0.9])
def test_one_order_in_twenty_at_most_ever_leaves_the_interval(rate: float) -> None:
    population = (np.arange(1_500) < rate * 1_500) * 1.0
    assert _ever_leaves(_orders(population, 600)) <= 0.05


def test_capitals_added_and_not_averaged_leave_too_often() -> None:
    population = (np.arange(1_500) < 750) * 1.0
    assert _ever_leaves(_orders(population, 600), shift=math.log(3)) > 0.05


def test_the_interval_of_a_fixed_number_leaves_too_often_when_looked_at_all_the_time() -> None:
    population = (np.arange(1_500) < 750) * 1.0
    orders = _orders(population, 300)
    seen = np.arange(1, 1_501)
    means = orders.cumsum(1) / seen
    half = 1.96 * np.sqrt(0.25 / seen * (1 - seen / 1_500))
    assert (abs(means - 0.5) > half + 1e-9)[:, 30:-1].any(1).mean() > 0.3


def test_an_interval_never_grows_and_ends_at_the_mean() -> None:
    values = np.random.default_rng(3).random(400)
    before = (0.0, 1.0)
    for seen in (0, 1, 16, 48, 160, 320, 399):
        low, high = sequences.interval(values[:seen], 400)
        assert before[0] - 1e-9 <= low <= high <= before[1] + 1e-9
        before = low, high
    mean = float(values.mean())
    assert before[0] <= mean <= before[1]
    assert sequences.interval(values, 400) == (mean, mean)


def test_the_interval_of_rights_mirrors_that_of_wrongs() -> None:
    values = np.random.default_rng(4).integers(0, 6, 200) / 5
    low, high = sequences.interval(values, 1_000)
    mirrored = sequences.interval(1 - values, 1_000)
    np.testing.assert_allclose((low, high), (1 - mirrored[1], 1 - mirrored[0]), atol=1e-9)


def test_a_difference_is_an_interval_between_minus_one_and_one() -> None:
    values = np.random.default_rng(4).integers(-1, 2, 640).astype(float)
    low, high = sequences.difference_interval(values, 5_000)
    assert -1 < low < values.mean() < high < 1
    half = sequences.interval((values + 1) / 2, 5_000)
    assert (low, high) == (2 * half[0] - 1, 2 * half[1] - 1)


def test_lower_levels_are_wider() -> None:
    values = np.random.default_rng(4).random(640)
    assert sequences.lower_bound(values, 5_000, 0.01) < sequences.lower_bound(values, 5_000, 0.1)
