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


GOLDEN = [[-1295094271, 677045940, 1396220202], [82203250, -541092384, -658158641]]

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


def plain_words(seed: int, image: int, count: int) -> list[int]:
    """The definition in whole numbers of Python: words of one image."""
    whole, a, b = 2**64 - 1, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

    def mixed(x: int, *factors: int) -> int:
        for factor in factors:
            x = x * factor & whole
            x ^= x >> 32
        return x

    def scattered(x: int) -> int:
        return mixed(x + 0x9E3779B97F4A7C15 & whole, a, b, a)

    first = scattered(image & whole ^ scattered(seed & whole))
    second = scattered(first) | 1
    twos = [mixed(scattered(place) ^ first, second, a, b) for place in range((count + 1) // 2)]
    words = [half for two in twos for half in (two & 0xFFFFFFFF, two >> 32)][:count]
    return [word - 2**32 if word >= 2**31 else word for word in words]


@pytest.mark.parametrize("seed", [0, 7, -3, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("image", [0, 1, -1, 2**40 + 5, 2**63 - 1])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_bits_are_their_definition(seed: int, image: int, count: int) -> None:
    words = rng.bits(rng.Key(seed, torch.tensor([4, image])), count)
    assert words.dtype == torch.int32 and words.shape == (2, count)
    assert words[1].tolist() == plain_words(seed, image, count)


def test_no_places_share_their_words_in_every_image() -> None:
    """One of 2^31 pairs does in two images; the first generator had two such pairs at 224 px."""
    words = rng.bits(key(2), 3 * 224 * 224).to(torch.int64)
    assert len(((words[0] << 32) + words[1]).unique()) == words.shape[1]


@pytest.mark.parametrize("bit", [0, 1, 2, 7, 16, 31])
@pytest.mark.parametrize("across", ["images", "places"])
def test_no_two_of_many_rows_agree_in_a_bit(bit: int, across: str) -> None:
    """All pairs of 1,500 images, and of as many places; the first generator's lowest bits were 20 σ off."""
    words = rng.bits(key(1500, seed=4), 1500)
    signs = (((words if across == "images" else words.t()) >> bit) & 1).float().mul_(2).sub_(1)
    scores = (signs @ signs.t()).fill_diagonal_(0) / math.sqrt(1500)
    assert scores.abs().max() < 7  # of 1.1 million normal numbers: beyond once in 350,000 runs


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
