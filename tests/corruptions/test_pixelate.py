"""Pixelate against Pillow's box filter, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.corruptions.pixelate import pixelate
from lnbench.corruptions.registry import find
from lnbench.corruptions.rng import Key
from tests.oracle import digital
from tests.oracle.pictures import difference, extremes, from_batch, photographs, to_batch

FRACTIONS = sorted({row[0] for rows in find("pixelate").tables.values() for row in rows})


def off_by(images: np.ndarray, fraction: float) -> int:
    wanted = np.stack([digital.pixelate(image, (fraction,)) for image in images])
    result = pixelate(to_batch(images), (fraction,), Key(0, torch.arange(len(images))))
    return int(difference(from_batch(result), wanted).max())


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("sides", [(224, 224), (64, 64), (32, 32), (37, 61)], ids=str)
def test_equals_pillow(fraction: float, sides: tuple[int, int]) -> None:
    assert off_by(photographs(*sides), fraction) == 0
    assert off_by(extremes(*sides), fraction) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(32, 90), st.integers(32, 90), st.floats(0.02, 1), st.integers(0, 2**32 - 1))
def test_equals_pillow_at_any_size(height: int, width: int, fraction: float, seed: int) -> None:
    if min(height, width) * fraction < 1:
        return  # Pillow has no empty pictures
    noise = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    assert off_by(noise, fraction) == 0


def test_a_picture_is_never_shrunk_to_nothing() -> None:
    noise = extremes(32, 40)[-1:]
    result = pixelate(to_batch(noise), (0.01,), Key(0, torch.arange(1)))
    assert (result == result[:, :, :1, :1]).all()
