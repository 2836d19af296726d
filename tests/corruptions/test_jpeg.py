"""JPEG compression against Pillow's encoder and decoder, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.corruptions.jpeg import jpeg_compression, roundtrip
from lnbench.corruptions.registry import find
from lnbench.corruptions.rng import Key
from tests.oracle import digital
from tests.oracle.pictures import extremes, from_batch, photographs, to_batch

QUALITIES = sorted(
    {int(row[0]) for rows in find("jpeg_compression").tables.values() for row in rows} | {1, 85, 100}
)


def pillow(images: np.ndarray, quality: int) -> np.ndarray:
    return np.stack([digital.jpeg_compression(image, (quality,)) for image in images])


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("sides", [(64, 96), (37, 61), (50, 65)], ids=str)
def test_equals_pillow(quality: int, sides: tuple[int, int]) -> None:
    for images in (photographs(*sides), extremes(*sides)):
        assert np.array_equal(from_batch(roundtrip(to_batch(images), quality)), pillow(images, quality))


@settings(max_examples=30, deadline=None)
@given(st.integers(32, 70), st.integers(32, 70), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_equals_pillow_at_any_size_and_quality(height: int, width: int, quality: int, seed: int) -> None:
    """Smooth color waves under a little noise: every transform coefficient is in use."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = random.uniform(0, 1, (2, 3)) * np.stack((rows, columns), -1)[..., None]
    image = 128 + 110 * np.sin(waves.sum(2)) + random.normal(0, 8, (height, width, 3))
    image = image.clip(0, 255).astype(np.uint8)[None]
    assert np.array_equal(from_batch(roundtrip(to_batch(image), quality)), pillow(image, quality))


def test_the_kernel_takes_the_quality_from_the_table() -> None:
    pixels = to_batch(photographs(48, 48))
    assert torch.equal(jpeg_compression(pixels, (15.0,), Key(0, torch.arange(4))), roundtrip(pixels, 15))
