"""Noise against the literal definitions, and the distributions themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lnbench.corruptions import noise, registry, rng
from tests.oracle import noise as oracle

KEY = rng.Key(11, torch.arange(6))
SHAPE = (6, 3, 37, 61)
EVERY_TABLE = [(table, severity) for table in registry.TABLES for severity in (1, 3, 5)]


def pictures(seed: int = 0) -> torch.Tensor:
    """Random levels with saturated patches, where clipping shows."""
    pixels = torch.randint(0, 256, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    pixels[:, :, :9] = 0
    pixels[:, :, 9:18] = 255
    return pixels


def as_images(batch: torch.Tensor) -> np.ndarray:
    return batch.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("table", "severity"), EVERY_TABLE)
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_normal_noise_is_the_definition_fed_the_same_field(name: str, table: str, severity: int) -> None:
    parameters = registry.parameters(table, name, severity)
    result = as_images(registry.find(name).kernel(pictures(), parameters, KEY))
    field = as_images(rng.normal(KEY, SHAPE[1:])).astype(np.float64)
    for image, expected_from, normal in zip(result, as_images(pictures()), field, strict=True):
        expected = getattr(oracle, name)(expected_from, parameters, normal)
        # Float64 rounding near whole numbers, where x · 255 of the definition falls either way.
        difference = np.abs(image.astype(int) - expected)
        assert difference.max() <= 1 and (difference == 0).mean() > 0.9995


@pytest.mark.parametrize(("table", "severity"), EVERY_TABLE)
def test_impulse_noise_is_the_definition_fed_the_same_field(table: str, severity: int) -> None:
    (amount,) = registry.parameters(table, "impulse_noise", severity)
    result = as_images(noise.impulse_noise(pictures(), (amount,), KEY))
    level = (rng.halves(KEY, math.prod(SHAPE[1:])).long().view(SHAPE) + 32768.5) / 65536
    pepper, salt = as_images(level < amount / 2), as_images(level > 1 - amount / 2)
    for i, image in enumerate(as_images(pictures())):
        expected = oracle.impulse_noise(image, (amount,), pepper[i] | salt[i], salt[i])
        assert np.array_equal(result[i], expected)
    share = (pepper | salt).mean()
    assert abs(share - amount) < 4 * math.sqrt(amount / salt.size)


@pytest.mark.parametrize("rate", [60, 12, 3, 500, 0.5, 7.3])
def test_alias_tables_hold_the_poisson_distribution(rate: float) -> None:
    """Exact: what the table draws with which probability, level by level, against scipy."""
    table, columns = noise._poisson_columns(rate, torch.device("cpu"))
    entry = table.numpy().view(np.uint32).reshape(256, columns).astype(np.int64)
    threshold, second, first = entry >> 16, entry >> 8 & 255, entry & 255
    counts = np.arange(0, max(4 * rate, 40) + 1)
    grey = (np.clip(counts / rate, 0, 1) * 255).astype(int)
    for level in (0, 1, 2, 17, 100, 128, 200, 254, 255):
        drawn = np.bincount(first[level], threshold[level] / 65536 / columns, 256)
        drawn += np.bincount(second[level], (1 - threshold[level] / 65536) / columns, 256)
        masses = stats.poisson.pmf(counts, level / 255 * rate)
        wanted = np.bincount(grey, masses, 256)
        # Thresholds are rounded to 2^-16 of a column; a level may meet several of them.
        assert np.abs(drawn - wanted).max() < 2e-5
        assert abs(drawn.sum() - 1) < 1e-9


def test_shot_noise_draws_from_its_tables() -> None:
    level, rate = 100, 12.0
    pixels = torch.full((20, 3, 64, 64), level, dtype=torch.uint8)
    result = noise.shot_noise(pixels, (rate,), rng.Key(0, torch.arange(20))).numpy()
    counts = np.arange(0, 40)
    expected = oracle.finish(counts / rate)
    masses = stats.poisson.pmf(counts, level / 255 * rate)
    wanted = np.bincount(expected, masses, 256) * result.size
    seen = np.bincount(result.ravel(), minlength=256)
    kept = wanted > 5
    assert seen[wanted == 0].sum() == 0
    assert stats.chisquare(seen[kept], wanted[kept] / wanted[kept].sum() * seen[kept].sum()).pvalue > 1e-3


def test_shot_noise_keeps_black_black() -> None:
    black = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert not noise.shot_noise(black, (60.0,), KEY[:2]).any()


def test_channels_and_pixels_are_drawn_on_their_own() -> None:
    grey = torch.full((50, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = noise.gaussian_noise(grey, (0.1,), rng.Key(0, torch.arange(50))).double() - 128
    for first, second in [
        (noisy[:, 0], noisy[:, 1]),
        (noisy[..., 1:], noisy[..., :-1]),
        (noisy[:-1], noisy[1:]),
    ]:
        correlation = np.corrcoef(first.flatten(), second.flatten())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(first.numel())
