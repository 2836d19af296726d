"""Spatter, step by step against OpenCV and as a whole against its literal definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.filters import gaussian

from lnbench.corruptions import outline, spatter
from lnbench.corruptions.registry import TABLES
from lnbench.corruptions.registry import parameters as parameters_of
from lnbench.corruptions.smooth import smooth
from tests.oracle import weather
from tests.oracle.pictures import difference, from_batch, photographs, to_batch

SIDES = {"imagenet": (96, 128), "tiny-imagenet": (64, 64), "cifar": (32, 32)}
CASES = [(table, SIDES[table], severity) for table in TABLES for severity in range(1, 6)]
CASES += [("imagenet", (37, 61), 3), ("imagenet", (224, 224), 2)]


def layers(table: str, sides: tuple[int, int], severity: int, count: int = 8) -> np.ndarray:
    """8-bit liquid layers as the original makes them."""
    mean, scale, sigma, threshold, _, _ = parameters_of(table, "spatter", severity)
    field = np.random.default_rng(severity).standard_normal((count, *sides))
    smoothed = np.stack([gaussian(one * scale + mean, sigma=sigma) for one in field])
    return (np.where(smoothed < threshold, 0, smoothed) * 255).astype(np.int32).astype(np.uint8)


@pytest.mark.parametrize(("table", "sides", "severity"), CASES)
def test_same_field_same_pixels(table: str, sides: tuple[int, int], severity: int) -> None:
    parameters, images = parameters_of(table, "spatter", severity), photographs(*sides)
    field = np.random.default_rng(severity).standard_normal((len(images), *sides)).astype(np.float32)
    wanted = np.stack(
        [
            weather.spatter(image, parameters, one.astype(float))
            for image, one in zip(images, field, strict=True)
        ]
    )
    result = spatter.spatter_from_field(to_batch(images), parameters, torch.from_numpy(field))
    assert (difference(from_batch(result), wanted) <= 1).mean() >= 0.999


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", [1, 2, 3])
def test_edges_equal_opencv(table: str, severity: int) -> None:
    liquid = layers(table, SIDES[table], severity)
    edges = outline.canny(torch.from_numpy(liquid.astype(np.int16)), 50, 150).numpy()
    assert np.array_equal(edges, np.stack([cv2.Canny(one, 50, 150) for one in liquid]))


def test_edges_of_any_picture_differ_only_where_weak_ones_run_far() -> None:
    gray = photographs(128, 128).mean(3).astype(np.uint8)
    edges = outline.canny(torch.from_numpy(gray.astype(np.int16)), 50, 150).numpy() > 0
    wanted = np.stack([cv2.Canny(one, 50, 150) for one in gray]) > 0
    assert not (edges & ~wanted).any()
    assert (wanted & ~edges).mean() < 0.01


def test_directions_of_every_gradient() -> None:
    """All pairs of parts that bytes can give, against whole numbers."""
    across, down = np.meshgrid(np.arange(1021), np.arange(1021))
    flat, steep = outline.directions(*(torch.from_numpy(part.astype(np.int16)) for part in (across, down)))
    assert np.array_equal(flat.numpy() != 0, down * 2**15 < across * 13573)
    assert np.array_equal(steep.numpy() != 0, down * 2**15 > across * 79109)


@pytest.mark.parametrize("density", [0, 0.001, 0.01, 0.3])
@pytest.mark.parametrize("sides", [(32, 32), (37, 61), (90, 40)], ids=str)
def test_distance_equals_opencv(density: float, sides: tuple[int, int]) -> None:
    edges = np.random.default_rng(3).random((4, *sides)) < density
    wanted = np.stack([cv2.distanceTransform((~one).astype(np.uint8), cv2.DIST_L2, 5) for one in edges]).clip(
        max=outline.FAR
    )
    distance = outline.distance(torch.from_numpy(edges).to(torch.uint8) * 255).numpy() / outline.UNIT
    # The costs of diagonal and knight's moves are rounded to 1 / 965: 2e-4 over 20 pixels.
    assert np.abs(distance - wanted).max() < 3e-4


@pytest.mark.parametrize("sides", [(64, 64), (37, 61)], ids=str)
def test_relief_equals_opencv(sides: tuple[int, int]) -> None:
    liquid = np.concatenate([layers("imagenet", sides, 2), np.zeros((1, *sides), dtype=np.uint8)])
    relief = spatter.relief(torch.from_numpy(liquid.astype(np.int16))).numpy()
    assert (relief == np.stack([weather.drops(one) for one in liquid])).mean() >= 0.999


@pytest.mark.parametrize("plane", [np.zeros((9, 9)), np.full((9, 9), 7), np.arange(81).reshape(9, 9) % 21])
def test_equalized_histogram(plane: np.ndarray) -> None:
    batch = torch.from_numpy(plane.astype(np.int16))[None]
    assert np.array_equal(spatter._equalize(batch, 21)[0].numpy(), cv2.equalizeHist(plane.astype(np.uint8)))


def test_without_liquid_nothing_changes() -> None:
    pixels = to_batch(photographs(40, 40))
    for mud in (0, 1):
        dry = spatter.spatter_from_field(pixels, (0.1, 0.1, 1, 0.9, 0.6, mud), torch.zeros(4, 40, 40))
        assert torch.equal(dry, pixels)


@pytest.mark.parametrize(("sigma", "truncate"), [(0.3, 4), (1, 4), (4, 4), (2.44, 3), (170.8, 3)])
@pytest.mark.parametrize("border", ["nearest", "reflect"])
def test_smoothing_equals_scipy(sigma: float, truncate: float, border: str) -> None:
    field = np.random.default_rng(0).standard_normal((2, 75, 120))
    wanted = np.stack([gaussian(one, sigma, mode=border, truncate=truncate) for one in field])
    smoothed = smooth(torch.from_numpy(field), sigma, truncate, border).numpy()  # type: ignore[arg-type]
    assert np.abs(smoothed - wanted).max() < 1e-12
