"""Random fields: the same numbers for any batch, the right distributions, independent streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lnbench.corruptions import rng

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def key(count: int = 4, seed: int = 0, device: str = "cpu") -> rng.Key:
    return rng.Key(seed, torch.arange(count, device=device))


GOLDEN = [[152427747, -135949949, -138267655], [-937099895, -1768756049, -2066332762]]

FIELDS = {
    "bits": lambda k: rng.bits(k, 1001),
    "halves": lambda k: rng.halves(k, 1001),
    "uniform": lambda k: rng.uniform(k, (7, 11, 13)),
    "normal": lambda k: rng.normal(k, (7, 11, 13)),
    "integers": lambda k: rng.integers(k, -4, 4, (7, 11, 13)),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("device", DEVICES)
def test_an_image_draws_the_same_whatever_its_batch(name: str, device: str) -> None:
    draw = FIELDS[name]
    whole = draw(key(6, device=device))
    order = torch.tensor([3, 0, 5], device=device)
    assert torch.equal(draw(rng.Key(0, order)), whole[order])
    assert torch.equal(draw(key(6, device=device)[2:3]), whole[2:3])
    assert torch.equal(whole.cpu(), draw(key(6)))


@pytest.mark.parametrize("name", FIELDS)
def test_seed_id_and_stream_change_the_draw(name: str) -> None:
    draw = FIELDS[name]
    base = draw(key())
    others = [draw(key(seed=1)), draw(key().stream("a")), draw(key().stream("b")), draw(key().stream(1))]
    fields = [base, *others]
    for i, first in enumerate(fields):
        assert not torch.equal(first[0], first[1])
        for second in fields[i + 1 :]:
            assert (first == second).float().mean() < 0.2  # integers of 8 values agree in 1/8


def test_ids_beyond_32_bits_differ() -> None:
    ids = torch.tensor([5, 5 + 2**32, -5])
    rows = rng.bits(rng.Key(0, ids), 100)
    assert (rows[0] != rows[1]).all() and (rows[0] != rows[2]).all()


def test_streams_are_values() -> None:
    k = key(seed=3)
    assert k.stream("a").seed == k.stream("a").seed
    assert k.stream("a").stream("b").seed != k.stream("b").stream("a").seed


def test_these_bits_are_a_promise() -> None:
    """Golden: a change here changes every published number."""
    words = rng.bits(rng.Key(7, torch.tensor([0, 123])).stream("gaussian_noise"), 3)
    assert words.tolist() == GOLDEN


def test_uniform() -> None:
    field = rng.uniform(key(50), (20_000,))
    assert field.dtype == torch.float32
    assert field.min() >= 0 and field.max() < 1
    assert stats.kstest(field.view(-1).numpy(), "uniform").pvalue > 1e-3


def test_normal() -> None:
    field = rng.normal(key(50), (20_000,)).view(-1).double().numpy()
    assert stats.kstest(field, "norm").pvalue > 1e-3
    error = 1 / math.sqrt(len(field))  # of the mean; of the others by the normal's own moments
    assert abs(field.mean()) < 4 * error
    assert abs(field.var() - 1) < 4 * math.sqrt(2) * error
    assert abs((field**3).mean()) < 4 * math.sqrt(15) * error
    assert abs((field**4).mean() - 3) < 4 * math.sqrt(96) * error
    for limit in (2, 3, 3.5):
        expected = 2 * stats.norm.sf(limit) * len(field)
        assert abs((np.abs(field) > limit).sum() - expected) < 4 * math.sqrt(expected)


def test_normal_quantiles_are_the_inverse_distribution() -> None:
    values = rng.normal_quantiles().numpy()
    assert (np.diff(values) > 0).all()
    assert abs(values.mean()) < 1e-12 and abs((values**2).mean() - 1) < 1e-12
    levels = (np.arange(65536) + 0.5) / 65536
    inner = slice(100, -100)
    # A share's mean and its midpoint differ by the curvature, most at the ends; 1e-4 is far under a level.
    assert np.abs(values - stats.norm.ppf(levels))[inner].max() < 1e-4


def test_integers_cover_their_range_evenly() -> None:
    field = rng.integers(key(20), -3, 4, (10_000,))
    values, counts = np.unique(field.numpy(), return_counts=True)
    assert values.tolist() == list(range(-3, 4))
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("shift", [0, 4, 8, 12])
def test_images_are_independent_in_every_nibble(shift: int) -> None:
    """Chi-square of pairs of images over the 16 × 16 joint values: the weakest point of a cheap hash."""
    words = (rng.halves(key(40), 60_000).numpy().astype(np.int64) >> shift) & 15
    scores = []
    for i in range(1, 40):
        joint = np.bincount(words[i] * 16 + words[i - 1], minlength=256)
        scores.append(((joint - joint.mean()) ** 2 / joint.mean()).sum())
    # 255 degrees of freedom: mean 255, standard deviation 22.6; the mean of 39 within 4 of its own.
    assert abs(np.mean(scores) - 255) < 4 * 22.6 / math.sqrt(39)
    assert max(scores) < 255 + 5.5 * 22.6


@pytest.mark.parametrize("lag", [1, 2, 3, 32, 224, 1024])
def test_neighbours_are_independent(lag: int) -> None:
    words = (rng.halves(key(20), 50_000).numpy().astype(np.int64) >> 12) & 15
    joint = np.bincount((words[:, lag:] * 16 + words[:, :-lag]).ravel(), minlength=256)
    assert stats.chisquare(joint).pvalue > 1e-4
