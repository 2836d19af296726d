"""Fog, frost and snow against their literal definitions, given the same random field."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lnbench.corruptions import fog, frost, snow
from lnbench.corruptions.registry import TABLES
from lnbench.corruptions.registry import parameters as parameters_of
from lnbench.corruptions.rng import Key
from lnbench.errors import LnbenchError
from tests.oracle import weather
from tests.oracle.pictures import difference, extremes, from_batch, photographs, to_batch

SIDES = {"imagenet": (96, 128), "tiny-imagenet": (64, 64), "cifar": (32, 32)}
CASES = [(table, SIDES[table], severity) for table in TABLES for severity in range(1, 6)]
CASES += [("imagenet", (37, 61), 3), ("imagenet", (224, 224), 3)]
EACH = pytest.mark.parametrize(("table", "sides", "severity"), CASES)
RANDOM = np.random.default_rng


def close(result: torch.Tensor, wanted: list[np.ndarray]) -> bool:
    """All but a few pixels within the level that float32 and truncation cost."""
    return bool((difference(from_batch(result), np.stack(wanted)) <= 1).mean() >= 0.999)


@EACH
def test_fog_from_the_same_field(table: str, sides: tuple[int, int], severity: int) -> None:
    parameters, images = parameters_of(table, "fog", severity), photographs(*sides)
    side = fog.map_side(*sides)
    field = RANDOM(severity).uniform(-1, 1, (len(images), side, side)).astype(np.float32)
    wanted = [weather.fog(image, parameters, one) for image, one in zip(images, field, strict=True)]
    assert close(fog.fog_from_field(to_batch(images), parameters, torch.from_numpy(field)), wanted)


@pytest.mark.parametrize(
    ("sides", "side"), [((224, 224), 256), ((64, 64), 64), ((32, 32), 32), ((33, 40), 64)]
)
def test_the_plasma_map_covers_the_picture(sides: tuple[int, int], side: int) -> None:
    assert fog.map_side(*sides) == side


def test_fog_over_black_stays_black() -> None:
    """The result is scaled by the brightest pixel, as in the original."""
    pixels = to_batch(extremes(40, 40)[:1])
    assert not fog.fog(pixels, (1.5, 2.0), Key(0, torch.arange(1))).any()
    assert torch.equal(fog.fog(pixels, (0.0, 2.0), Key(0, torch.arange(1))), pixels)


FROST = [(table, (150, 140) if table == "imagenet" else sides, severity) for table, sides, severity in CASES]


@pytest.mark.parametrize(("table", "sides", "severity"), FROST)
def test_frost_from_the_same_field(table: str, sides: tuple[int, int], severity: int) -> None:
    parameters, images = parameters_of(table, "frost", severity), photographs(*sides)
    field = RANDOM(severity).random((len(images), 3)).astype(np.float32)
    folder = Path(importlib.util.find_spec("imagecorruptions").submodule_search_locations[0]) / "frost"
    factor = frost.resize_factor(*sides)
    wanted = []
    for image, (choice, row, column) in zip(images, field, strict=True):
        path = folder / frost.PICTURES[int(choice * 5)]
        rows, columns = (round(side * factor) for side in cv2.imread(str(path)).shape[:2])
        top, left = int(row * np.float32(rows - sides[0])), int(column * np.float32(columns - sides[1]))
        wanted.append(weather.frost(image, parameters, path, factor, top, left))
    assert close(frost.frost_from_field(to_batch(images), parameters, torch.from_numpy(field)), wanted)


def test_frost_has_the_authors_sizes() -> None:
    assert [frost.resize_factor(side, side) for side in (32, 64, 224, 299)] == [0.2, 0.3, 1, 1]


def test_frost_covers_pictures_larger_than_its_own() -> None:
    pixels = torch.zeros((1, 3, 400, 700), dtype=torch.uint8)
    for choice in (0.05, 0.25, 0.65):
        field = torch.tensor([[choice, 0.9999, 0.9999]])
        assert frost.frost_from_field(pixels, (1, 1), field).float().mean() > 20


def test_frost_reads_pictures_without_importing_the_package() -> None:
    frost.frost(to_batch(photographs(32, 32)), (1, 0.2), Key(0, torch.arange(4)))
    assert "imagecorruptions" not in sys.modules


def test_frost_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LnbenchError, match="imagecorruptions"):
        frost._folder()


def test_frost_says_which_picture_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "frost1.png").write_bytes(b"not a picture")
    with pytest.raises(LnbenchError, match=r"frost1\.png"):
        frost._load(tmp_path / "frost1.png")


@EACH
def test_snow_from_the_same_field(table: str, sides: tuple[int, int], severity: int) -> None:
    parameters, images = parameters_of(table, "snow", severity), photographs(*sides)
    random = RANDOM(severity)
    field = random.standard_normal((len(images), *sides)).astype(np.float32)
    degrees = random.uniform(-135, -45, len(images)).astype(np.float32)
    wanted = [
        weather.snow(image, parameters, one.astype(np.float64), float(angle))
        for image, one, angle in zip(images, field, degrees, strict=True)
    ]
    # The original draws a whole layer; its zoom uses the middle.
    rows, columns = snow.field_shape(*sides, parameters[2])
    top, left = (sides[0] - rows) // 2, (sides[1] - columns) // 2
    middle = torch.from_numpy(field[:, top : top + rows, left : left + columns]).contiguous()
    result = snow.snow_from_field(to_batch(images), parameters, middle, torch.from_numpy(degrees))
    assert close(result, wanted)
