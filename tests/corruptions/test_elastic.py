"""Elastic transform against OpenCV's affine warp and SciPy's resampling, given the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lnbench.corruptions.elastic import elastic_from_field, elastic_transform
from lnbench.corruptions.registry import TABLES
from lnbench.corruptions.registry import parameters as parameters_of
from lnbench.corruptions.rng import Key
from tests.oracle import digital
from tests.oracle.pictures import difference, from_batch, photographs, to_batch

SIDES = {"imagenet": (128, 128), "tiny-imagenet": (64, 64), "cifar": (32, 32)}
CASES = [(table, SIDES[table], severity) for table in TABLES for severity in range(1, 6)]


@pytest.mark.parametrize(("table", "sides", "severity"), [*CASES, ("imagenet", (37, 61), 3)])
def test_same_numbers_same_pixels(table: str, sides: tuple[int, int], severity: int) -> None:
    parameters = parameters_of(table, "elastic_transform", severity)
    images = photographs(*sides)
    random = np.random.default_rng(severity)
    corners = random.uniform(-1, 1, (len(images), 3, 2)).astype(np.float32)
    field = random.uniform(-1, 1, (len(images), 2, *sides)).astype(np.float32)
    wanted = np.stack(
        [
            digital.elastic_transform(image, parameters, points, *moves.astype(np.float64))
            for image, points, moves in zip(images, corners, field, strict=True)
        ]
    )
    result = elastic_from_field(
        to_batch(images), parameters, torch.from_numpy(corners), torch.from_numpy(field)
    )
    # Float32 coordinates instead of float64 ones: 1e-5 pixels, at most a truncated level.
    assert (difference(from_batch(result), wanted) <= 1).mean() >= 0.995


def test_nothing_moves_without_displacement() -> None:
    images = to_batch(photographs(48, 64))
    corners, field = torch.zeros(4, 3, 2), torch.zeros(4, 2, 48, 64)
    result = elastic_from_field(images, (10.0, 2.0, 20.0), corners, field)
    assert (result.int() - images.int()).abs().max() <= 1  # truncation of 1e-5 below a level


def test_points_on_a_line_leave_a_picture() -> None:
    """The three moved points may fall on one line, where the map has no inverse."""
    corners = torch.zeros(4, 3, 2)
    corners[:, 0, 1] = -1  # moves the first point onto the second: r is 16, so 2r = 32
    images = to_batch(photographs(48, 48))
    result = elastic_from_field(images, (0.0, 0.0, 32.0), corners, torch.zeros(4, 2, 48, 48))
    assert result.shape == images.shape


def test_images_move_by_their_own_numbers() -> None:
    pixels = to_batch(photographs(64, 64)[:1]).expand(3, -1, -1, -1).contiguous()
    parameters = parameters_of("tiny-imagenet", "elastic_transform", 3)
    result = elastic_transform(pixels, parameters, Key(5, torch.tensor([4, 9, 4])))
    assert torch.equal(result[0], result[2]) and not torch.equal(result[0], result[1])
