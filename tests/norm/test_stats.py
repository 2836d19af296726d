from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lnbench.norm.stats import batch_statistics, blend, image_statistics, mean_over_groups, normalize

SHAPES = [(8, 5), (8, 5, 7), (8, 5, 6, 4), (8, 5, 2, 3, 4), (8, 5, 1, 1)]
# One rounding of float32 is 6e-8; sums of under a thousand values of size 3 and one division.
TOLERANCE = 2e-6


def sample(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2 + 1).to(dtype)


def layouts(x: Tensor) -> list[Tensor]:
    if x.ndim != 4:
        return [x]
    return [x, x.contiguous(memory_format=torch.channels_last)]


@pytest.mark.parametrize("shape", SHAPES)
def test_image_statistics_against_numpy(shape: tuple[int, ...]) -> None:
    for x in layouts(sample(shape)):
        flat = x.double().numpy().reshape(*shape[:2], -1)
        mean, var = image_statistics(x)
        np.testing.assert_allclose(mean, flat.mean(2), atol=TOLERANCE)
        np.testing.assert_allclose(var, flat.var(2), atol=4 * TOLERANCE)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_statistics_against_numpy(shape: tuple[int, ...], groups: int) -> None:
    for x in layouts(sample(shape)):
        mean, var = batch_statistics(x, groups)
        assert mean.shape == var.shape == (groups, shape[1])
        for group in range(groups):
            part = x[group::groups].double().numpy().swapaxes(0, 1).reshape(shape[1], -1)
            np.testing.assert_allclose(mean[group], part.mean(1), atol=TOLERANCE)
            np.testing.assert_allclose(var[group], part.var(1), atol=4 * TOLERANCE)


def test_variance_survives_a_large_mean() -> None:
    # A difference of raw moments would be off by 1e4² · 6e-8 = 6 here.
    x = sample((4, 3, 32, 32)) + 1e4
    _, var = image_statistics(x)
    expected = x.double().var((2, 3), correction=0)
    torch.testing.assert_close(var.double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_of_16_bit_inputs_are_float32(dtype: torch.dtype) -> None:
    x = sample((4, 3, 8, 8), dtype)
    for statistics in (image_statistics(x), batch_statistics(x)):
        assert {values.dtype for values in statistics} == {torch.float32}
    torch.testing.assert_close(image_statistics(x), image_statistics(x.float()), rtol=0, atol=0)
    ones = torch.ones(3)
    assert normalize(x, image_statistics(x), ones, ones, 1e-5).dtype == dtype


def test_blend_is_the_formula_and_exact_at_its_ends() -> None:
    stored = (sample((5,)), sample((5,)).square())
    target = image_statistics(sample((8, 5, 6, 4)))
    N, n = 16.0, 3
    for mixed, kept, new in zip(blend(stored, target, N, n), stored, target, strict=True):
        torch.testing.assert_close(mixed, N / (N + n) * kept + n / (N + n) * new, rtol=1e-6, atol=1e-6)
    for mixed, new in zip(blend(stored, target, 0, n), target, strict=True):
        assert torch.equal(mixed, new)
    for mixed, kept in zip(blend(stored, target, math.inf, n), stored, strict=True):
        assert torch.equal(mixed, kept.expand(8, 5))


@pytest.mark.parametrize("shape", SHAPES)
def test_normalize_is_the_formula(shape: tuple[int, ...]) -> None:
    weight, bias = sample((5,)), sample((5,)) - 1
    for x in layouts(sample(shape)):
        for statistics in (image_statistics(x), (sample((5,)), sample((5,)).square())):
            mean, var = (values.reshape(-1, 5, *(1,) * (x.ndim - 2)).double() for values in statistics)
            line = (1, 5, *(1,) * (x.ndim - 2))
            expected = (x - mean) / (var + 1e-3).sqrt() * weight.view(line) + bias.view(line)
            y = normalize(x, statistics, weight, bias, 1e-3)
            torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
            assert y.stride() == x.stride()


def test_mean_over_groups_is_exact_where_groups_agree() -> None:
    one = sample((100,))
    for groups in (1, 3, 7, 32):
        assert torch.equal(mean_over_groups(one.expand(groups, -1)), one)
    values = sample((6, 100))
    torch.testing.assert_close(mean_over_groups(values), values.mean(0), rtol=1e-5, atol=1e-6)
