"""Blurs against the literal definitions, for every parameter set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lnbench.corruptions import blur, registry, rng
from tests.oracle import blur as oracle
from tests.oracle.pictures import from_batch, photographs, to_batch

EVERY = [(table, severity) for table in registry.TABLES for severity in range(1, 6)]
SIDES = {"imagenet": (96, 112), "tiny-imagenet": (64, 64), "cifar": (32, 32)}


def batch(table: str) -> tuple[torch.Tensor, np.ndarray, rng.Key]:
    images = photographs(*SIDES[table])
    images[0, :20, :20] = 255  # flat white and black, as in overexposed pictures
    images[1, :20, :20] = 0
    return to_batch(images), images, rng.Key(3, torch.arange(len(images)))


def agree(result: np.ndarray, expected: np.ndarray, equal: float = 0.995) -> None:
    difference = np.abs(result.astype(int) - expected)
    assert difference.max() <= 2
    assert (difference == 0).mean() >= equal


@pytest.mark.parametrize(("table", "severity"), EVERY)
@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "zoom_blur"])
def test_deterministic_blurs_are_the_definition(name: str, table: str, severity: int) -> None:
    pixels, images, key = batch(table)
    parameters = registry.parameters(table, name, severity)
    result = from_batch(registry.find(name).kernel(pixels, parameters, key))
    expected = np.stack([getattr(oracle, name)(image, parameters) for image in images])
    agree(result, expected)


@pytest.mark.parametrize(("table", "severity"), EVERY)
def test_motion_blur_is_the_definition_along_the_same_angles(table: str, severity: int) -> None:
    pixels, images, key = batch(table)
    parameters = registry.parameters(table, "motion_blur", severity)
    result = from_batch(blur.motion_blur(pixels, parameters, key))
    degrees = (rng.uniform(key.stream("angle"), (1,)) * 90 - 45).view(-1).tolist()
    expected = [
        oracle.motion_blur(image, parameters, angle) for image, angle in zip(images, degrees, strict=True)
    ]
    agree(result, np.stack(expected), equal=0.9995)


@pytest.mark.parametrize(
    ("table", "severity"), [("imagenet", 3), ("imagenet", 5), ("cifar", 5), ("tiny-imagenet", 4)]
)
def test_glass_blur_is_the_definition_with_the_same_steps(table: str, severity: int) -> None:
    pixels, images, key = batch(table)
    parameters = registry.parameters(table, "glass_blur", severity)
    _, delta, iterations = parameters
    result = from_batch(blur.glass_blur(pixels, parameters, key))
    sides = images.shape[1:3]
    steps = [blur.random_steps(key.stream(i), int(delta), *sides) for i in range(int(iterations))]
    fields = torch.stack(steps, dim=1).numpy()
    expected = [
        oracle.glass_blur(image, parameters, field) for image, field in zip(images, fields, strict=True)
    ]
    # The first blur may differ by a level, which the second one spreads.
    agree(result, np.stack(expected), equal=0.99)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(4, 24),
    width=st.integers(4, 24),
    delta=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    drift=st.sampled_from([None, (0, 1), (1, 0), (-1, 1), (0, -1)]),
)
def test_copy_sources_is_the_sequential_loop(
    height: int, width: int, delta: int, seed: int, drift: tuple[int, int] | None
) -> None:
    """Exactly, for random steps and for the longest chains: every step the same way."""
    delta = min(delta, height - 1, width - 1)
    if drift is None:
        random = torch.Generator().manual_seed(seed)
        steps = torch.randint(-delta, delta, (2, 2, height, width), generator=random)
    else:
        steps = torch.tensor(drift).clamp(max=max(delta - 1, 0)).view(1, 2, 1, 1).expand(2, 2, height, width)
    doublings = (height * width).bit_length()
    sources = blur.copy_sources(steps.clone(), delta, doublings).view(2, height, width)
    places = np.arange(2 * height * width).reshape(2, height, width)
    for image, source, place in zip(steps.numpy(), sources.numpy(), places, strict=True):
        expected = oracle.copy_in_scan_order(place, delta, image[0], image[1])
        assert np.array_equal(source, expected)


@pytest.mark.parametrize("delta", [1, 2, 3, 15])
def test_steps_cover_their_range_evenly(delta: int) -> None:
    values, counts = np.unique(
        blur.random_steps(rng.Key(0, torch.arange(9)), delta, 40, 50), return_counts=True
    )
    assert values.tolist() == list(range(-delta, delta))
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("delta", [1, 4, 15])
def test_six_doublings_resolve_every_chain_of_random_steps(delta: int) -> None:
    key = rng.Key(0, torch.arange(8))
    steps = blur.random_steps(key, delta, 96, 96)
    assert torch.equal(
        blur.copy_sources(steps, delta, blur._GLASS_DOUBLINGS), blur.copy_sources(steps, delta, 14)
    )


@pytest.mark.parametrize(
    "parameters",
    [row for rows in registry.find("defocus_blur").tables.values() for row in rows]
    + [(6.9, 0.5), (7.5, 0.5), (12, 2)],
)
def test_disk_is_opencvs(parameters: tuple[float, float]) -> None:
    kernel = np.array(blur.disk(*parameters))
    expected = oracle.disk(*parameters)
    margin = (len(expected) - len(kernel)) // 2
    inner = expected[margin : len(expected) - margin, margin : len(expected) - margin]
    assert np.abs(kernel - inner).max() < 1e-8  # float32 rounding of weights about 1/100
    assert expected.sum() - inner.sum() < 1e-7


@pytest.mark.parametrize("parameters", [(2.6, 0.5), (6.9, 0.5), (7.5, 0.5), (12, 2)])
def test_defocus_of_other_sizes_is_the_definition(parameters: tuple[float, float]) -> None:
    pixels, images, key = batch("imagenet")
    result = from_batch(blur.defocus_blur(pixels, parameters, key))
    # The flat patches follow the sign of a kernel's sum less 1, about 1e-8, which may be OpenCV's own.
    agree(result, np.stack([oracle.defocus_blur(image, parameters) for image in images]), equal=0.98)


def test_a_disk_of_one_pixel_changes_nothing() -> None:
    pixels, _, key = batch("cifar")
    assert torch.equal(blur.defocus_blur(pixels, (0, 0.01), key), pixels)


@pytest.mark.parametrize("sigma", [0.05, 0.11, 0.5, 2, 9])
@pytest.mark.parametrize("side", [32, 140])
def test_gaussian_of_other_sizes_is_the_definition(sigma: float, side: int) -> None:
    images = photographs(side, side)
    result = from_batch(blur.gaussian_blur(to_batch(images), (sigma,), rng.Key(0, torch.arange(4))))
    agree(result, np.stack([oracle.gaussian_blur(image, (sigma,)) for image in images]))


def test_angles_differ_from_image_to_image() -> None:
    point = torch.zeros(3, 3, 65, 65, dtype=torch.uint8)
    point[:, :, 32, 32] = 255
    result = blur.motion_blur(point, (15.0, 8.0), rng.Key(0, torch.arange(3)))
    assert not torch.equal(result[0], result[1]) and not torch.equal(result[1], result[2])
    assert torch.equal(result[:, 0], result[:, 2])  # all channels move together
