"""Geometry against torchvision, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from lnbench.data.decode import Unreadable
from lnbench.data.geometry import UNCHANGED, fit
from lnbench.types import Geometry
from tests.data.conftest import pixels

MODES = ("nearest", "bilinear", "bicubic", "lanczos", "box")
SIDES = st.integers(1, 90)
SIZES = st.one_of(st.none(), st.integers(1, 90), st.tuples(st.integers(1, 90), st.integers(1, 90)))


def oracle(picture: Image.Image, geometry: Geometry) -> Image.Image:
    steps: list[object] = []
    if geometry.resize is not None:
        steps.append(Resize(geometry.resize, InterpolationMode(geometry.interpolation)))
    if geometry.crop is not None:
        steps.append(CenterCrop(geometry.crop))
    return Compose(steps)(picture)


@settings(deadline=None, max_examples=300)
@given(SIDES, SIDES, SIZES, SIZES, st.sampled_from(MODES))
def test_equals_torchvision(height: int, width: int, resize: object, crop: object, mode: str) -> None:
    picture = Image.fromarray(pixels(0, height, width))
    geometry = Geometry(resize, crop, mode)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.asarray(fit(picture, geometry)), np.asarray(oracle(picture, geometry)))


@pytest.mark.parametrize("geometry", [Geometry(256, 224), Geometry(232, 224, "bicubic"), Geometry((96, 128))])
def test_equals_torchvision_on_photographs(photographs: Path, geometry: Geometry) -> None:
    for path in sorted(photographs.rglob("*.JPEG"))[:12]:
        picture = Image.open(path).convert("RGB")
        np.testing.assert_array_equal(
            np.asarray(fit(picture, geometry)), np.asarray(oracle(picture, geometry))
        )


def test_no_geometry_changes_nothing() -> None:
    picture = Image.fromarray(pixels(0))
    assert fit(picture, UNCHANGED) is picture


def test_impossible_proportions_are_refused_before_the_memory_is_asked_for() -> None:
    with pytest.raises(Unreadable, match="would grow to"):
        fit(Image.new("RGB", (1_000_000, 1)), Geometry(256, 224))
