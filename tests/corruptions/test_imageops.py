"""Shared image operations against NumPy, SciPy and the oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from lnbench.corruptions import imageops
from tests.oracle import blur as oracle


def planes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255


def test_truncate_is_numpys() -> None:
    levels = torch.tensor([-3.0, -0.2, 0.0, 0.99, 1.0, 128.5, 254.999, 255.0, 255.7, 300.0])
    expected = np.uint8(np.clip(levels.numpy(), 0, 255))
    assert imageops.truncate(levels.clone()).tolist() == expected.tolist()
    assert imageops.to_nearest(levels.clone()).tolist() == [0, 0, 0, 1, 1, 129, 255, 255, 255, 255]


@pytest.mark.parametrize("multiple", [1, 16])
def test_stacking_is_undone(multiple: int) -> None:
    pixels = torch.randint(0, 256, (5, 3, 8, 9), dtype=torch.uint8)
    stacked = imageops.stacked(pixels, multiple)
    assert stacked.shape == (1, 15 if multiple == 1 else 16, 8, 9)
    assert torch.equal(imageops.unstacked(stacked.to(torch.uint8), pixels.shape), pixels)


@pytest.mark.parametrize(("border", "name"), [("nearest", "edge"), ("mirror", "reflect")])
def test_pad(border: imageops.Border, name: str) -> None:
    x = planes(2, 3, 7, 9)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), mode=name)
    assert np.array_equal(imageops.pad(x, 5, border).numpy(), expected)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 0.7, 1, 3, 6])
def test_gaussian_taps_are_scipys(sigma: float) -> None:
    taps = imageops.gaussian_taps(sigma)
    impulse = np.zeros(2 * len(taps) + 1)
    impulse[len(taps)] = 1
    response = ndimage.gaussian_filter1d(impulse, sigma)
    assert np.allclose(response[response > 0], taps, rtol=1e-14)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("transpose", [False, True])
def test_correlate(batch: int, transpose: bool) -> None:
    x = planes(batch, 2, 11, 12)
    weights = ((0.1, 0.2, 0.3), (0.4, -0.5, 0.6))
    kernel = np.array(weights).T if transpose else np.array(weights)
    result = imageops.correlate(x, weights, transpose=transpose)
    windows = np.lib.stride_tricks.sliding_window_view(x.double().numpy(), kernel.shape, axis=(2, 3))
    expected = np.einsum("bchwij,ij->bchw", windows, kernel)
    assert np.allclose(result.numpy(), expected, atol=1e-3)  # float32 sums of 6 values up to 255


@pytest.mark.parametrize("degrees", [(0, 45), (-45, 10), (-135, -90), (-67.5, 30), (180, 97)])
@pytest.mark.parametrize(("radius", "sigma"), [(10, 3), (20, 15), (6, 1)])
def test_motion_blur_is_the_definition(radius: float, sigma: float, degrees: tuple[float, float]) -> None:
    x = planes(2, 2, 33, 40)
    result = imageops.motion_blur(x, radius, sigma, torch.tensor(degrees, dtype=torch.float32))
    for image, blurred, angle in zip(x, result, degrees, strict=True):
        expected = oracle.motion_filter(image.permute(1, 2, 0).double().numpy(), radius, sigma, angle)
        assert np.allclose(blurred.permute(1, 2, 0).numpy(), expected, atol=1e-3)  # float32 sums up to 255


def test_motion_blur_keeps_a_flat_layer() -> None:
    flat = torch.full((3, 1, 32, 40), 77.0)
    blurred = imageops.motion_blur(flat, 14, 12.0, torch.tensor([-135.0, -90.0, -45.0]))
    assert torch.allclose(blurred, flat, atol=1e-4)  # 29 float32 weights that sum to 1


@pytest.mark.parametrize("zoom", [1.0, 1.01, 1.11, 1.3, 2.0, 3.7])
def test_clipped_zoom_is_the_definition(zoom: float) -> None:
    x = planes(1, 3, 37, 61)
    expected = oracle.clipped_zoom(x[0].permute(1, 2, 0).double().numpy(), zoom)
    result = imageops.clipped_zoom(x, zoom)[0].permute(1, 2, 0)
    assert np.allclose(result.numpy(), expected, atol=2e-3)  # float32 coordinates, up to 61 pixels
