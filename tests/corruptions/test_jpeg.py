"""JPEG compression against Pillow's encoder and decoder, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.corruptions import jpeg, libjpeg
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


@pytest.mark.parametrize("side", [48, 130])
def test_the_kernel_takes_the_quality_from_the_table(side: int) -> None:
    """Small pictures are computed, large ones go through Pillow."""
    pixels = to_batch(photographs(side, side + 1))
    assert torch.equal(jpeg_compression(pixels, (15.0,), Key(0, torch.arange(4))), roundtrip(pixels, 15))


@pytest.mark.parametrize("threads", [1, 2])
def test_pillow_makes_the_same_pixels_on_any_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for quality in (*QUALITIES, 7):
            pixels = to_batch(np.concatenate((photographs(50, 65), extremes(50, 65))))
            assert torch.equal(libjpeg.roundtrip(pixels, quality), roundtrip(pixels, quality))
    finally:
        torch.set_num_threads(before)


FORKED = """
import os, torch
from lnbench.corruptions import libjpeg
torch.set_num_threads(2)
pixels = torch.arange(2 * 3 * 64 * 64).to(torch.uint8).view(2, 3, 64, 64)
wanted = libjpeg.roundtrip(pixels, 50)
child = os.fork()
if not child:
    os._exit(0 if torch.equal(libjpeg.roundtrip(pixels, 50), wanted) else 7)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own() -> None:
    assert subprocess.run([sys.executable, "-c", FORKED], check=False, timeout=120).returncode == 0


def test_a_pillow_that_rounds_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(pixels: torch.Tensor, quality: int) -> torch.Tensor:
        found = libjpeg_roundtrip(pixels, quality)
        found[..., -1, -1] ^= 1
        return found

    libjpeg_roundtrip = libjpeg.roundtrip
    monkeypatch.setattr(libjpeg, "roundtrip", other)
    jpeg._pillow_serves.cache_clear()
    try:
        pixels = to_batch(photographs(130, 131))
        assert not torch.equal(libjpeg.roundtrip(pixels, 15), roundtrip(pixels, 15))
        found = jpeg_compression(pixels, (15.0,), Key(0, torch.arange(4)))
        assert torch.equal(found, roundtrip(pixels, 15))
    finally:
        jpeg._pillow_serves.cache_clear()
