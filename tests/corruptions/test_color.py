"""Contrast, brightness and saturate against scikit-image's conversions, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lnbench.corruptions import color
from lnbench.corruptions.registry import TABLES
from lnbench.corruptions.registry import parameters as parameters_of
from lnbench.corruptions.rng import Key
from tests.oracle import digital
from tests.oracle.pictures import difference, extremes, from_batch, photographs, to_batch

CASES = [
    (name, table, severity)
    for name in ("contrast", "brightness", "saturate")
    for table in TABLES
    for severity in range(1, 6)
]
SIDES = {"imagenet": (96, 80), "tiny-imagenet": (64, 64), "cifar": (32, 32)}


def native(name: str, images: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    key = Key(0, torch.arange(len(images)))
    return from_batch(getattr(color, name)(to_batch(images), parameters, key))


@pytest.mark.parametrize(("name", "table", "severity"), CASES)
def test_equals_the_original(name: str, table: str, severity: int) -> None:
    parameters = parameters_of(table, name, severity)
    images = photographs(*SIDES[table])
    wanted = np.stack([getattr(digital, name)(image, parameters) for image in images])
    # Contrast's mean is summed in another order: a level may fall on the other side of truncation.
    off = difference(native(name, images, parameters), wanted)
    assert (off == 0).mean() >= (0.995 if name == "contrast" else 1)
    assert off.max() <= 1


@pytest.mark.parametrize("name", ["brightness", "saturate"])
@pytest.mark.parametrize("severity", range(1, 6))
def test_every_kind_of_color(name: str, severity: int) -> None:
    """Ties between channels, grays, black, white, primaries: a lattice of the color cube."""
    steps = np.array([0, 1, 2, 51, 85, 102, 127, 128, 153, 170, 204, 253, 254, 255], dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, 14, 196, 3)
    parameters = parameters_of("imagenet", name, severity)
    assert np.array_equal(native(name, cube, parameters)[0], getattr(digital, name)(cube[0], parameters))


@pytest.mark.parametrize("factor", [0.4, 0.05, 1, 3])
def test_contrast_keeps_flat_pictures(factor: float) -> None:
    flat = extremes(33, 57)[:4]
    assert np.array_equal(native("contrast", flat, (factor,)), flat)


def test_contrast_above_one_clips() -> None:
    images = photographs(40, 48)
    wanted = np.stack([digital.contrast(image, (2.5,)) for image in images])
    assert (difference(native("contrast", images, (2.5,)), wanted) == 0).mean() >= 0.995


def test_brightness_moves_black_and_white() -> None:
    result = native("brightness", extremes(32, 32)[:2], (0.3,))
    assert (result[0] == 76).all() and (result[1] == 255).all()
