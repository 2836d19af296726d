"""The literal definitions of tests/oracle, ready to be run beside the native kernels.

`shared_fields` gives each definition the very random numbers its native kernel draws; `own_fields` gives it
NumPy's. Both return, for each image, what the definition takes after (image, parameters).
"""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from lnbench.corruptions import blur as native_blur
from lnbench.corruptions import fog, frost, noise, rng, snow
from tests.oracle import blur, digital, weather
from tests.oracle import noise as oracle_noise

Fields = tuple[Any, ...]
Parameters = tuple[float, ...]

DEFINITIONS: dict[str, Callable[..., np.ndarray]] = {
    **{name: getattr(oracle_noise, name) for name in ("gaussian_noise", "shot_noise", "impulse_noise")},
    **{name: getattr(blur, name) for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur")},
    **{name: getattr(weather, name) for name in ("snow", "frost", "fog")},
    **{name: getattr(digital, name) for name in ("brightness", "contrast", "elastic_transform", "pixelate")},
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": oracle_noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
RANDOM = (
    "gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog",
    "elastic_transform", "speckle_noise", "spatter",
)  # fmt: skip


def define(name: str, images: np.ndarray, parameters: Parameters, fields: Sequence[Fields]) -> np.ndarray:
    """Run a definition image by image: uint8 (B, H, W, 3) in and out."""
    definition = DEFINITIONS[name]
    with np.errstate(all="ignore"):
        return np.stack(
            [definition(image, parameters, *own) for image, own in zip(images, fields, strict=True)]
        )


def shared_fields(
    name: str, severity: float, parameters: Parameters, seed: int, ids: np.ndarray, images: np.ndarray
) -> list[Fields]:
    """What `native.corrupt` draws for these images: uint8 (B, H, W, 3), ids int64 (B,)."""
    key = rng.Key(seed, torch.from_numpy(ids)).stream(name).stream(f"{severity:g}")
    draw = _SHARED.get(name)
    return [() for _ in images] if draw is None else draw(key, parameters, images)


def own_fields(
    name: str, parameters: Parameters, random: np.random.Generator, images: np.ndarray
) -> list[Fields]:
    """The same from NumPy's generator, with the calls of the original scripts."""
    draw = _OWN.get(name)
    return [() if draw is None else draw(random, parameters, image) for image in images]


def _last(field: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) as (B, H, W, 3)."""
    return field.permute(0, 2, 3, 1).numpy()


def _shared_normal(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    height, width = images.shape[1:3]
    return [(field,) for field in _last(rng.normal(key, (3, height, width))).astype(np.float64)]


def _shared_counts(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    """The Poisson counts of the alias tables; the native kernel stores their grey values only."""
    columns, threshold, alias = _alias(parameters[0])
    height, width = images.shape[1:3]
    words = _last(rng.bits(key, 3 * height * width).view(-1, 3, height, width)).view(np.uint32)
    column, low = (words >> 16) & (columns - 1), (words & 0xFFFF).astype(np.int64)
    cut = np.rint(threshold * 65536).astype(np.int64).clip(0, 65535)[images, column]
    return [(counts,) for counts in np.where(low < cut, column, alias[images, column])]


@lru_cache(maxsize=4)
def _alias(rate: float) -> tuple[int, np.ndarray, np.ndarray]:
    columns = 1 << math.ceil(math.log2(math.ceil(rate) + 1))
    return columns, *noise.alias_tables(noise.poisson_masses(rate, columns))


def _shared_impulse(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    height, width = images.shape[1:3]
    level = rng.halves(key, 3 * height * width).to(torch.int64).view(-1, 3, height, width)
    place = (_last(level) + 32768.5) / 65536
    pepper, salt = place < parameters[0] / 2, place > 1 - parameters[0] / 2
    return list(zip(pepper | salt, salt, strict=True))


def _shared_steps(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    sides, delta = images.shape[1:3], int(parameters[1])
    passes = [native_blur.random_steps(key.stream(i), delta, *sides) for i in range(int(parameters[2]))]
    return [(steps,) for steps in torch.stack(passes, dim=1).numpy()]


def _shared_angle(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    return [(degrees,) for degrees in (rng.uniform(key.stream("angle"), (1,)) * 90 - 45).view(-1).tolist()]


def _shared_snow(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    """Native draws only the middle that the zoom will use; outside it anything will do."""
    height, width = images.shape[1:3]
    rows, columns = snow.field_shape(height, width, parameters[2])
    top, left = (height - rows) // 2, (width - columns) // 2
    layers = np.zeros((len(images), height, width))
    middle = rng.normal(key.stream("layer"), (rows, columns)).numpy()
    layers[:, top : top + rows, left : left + columns] = middle
    degrees = rng.uniform(key.stream("angle"), (1,)).view(-1) * 90 - 135
    return list(zip(layers, degrees.tolist(), strict=True))


def _shared_frost(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    found: list[Fields] = []
    sides = images.shape[1:3]
    for choice, row, column in rng.uniform(key, (3,)).numpy():
        path, rows, columns = _ice(int(choice * len(frost.PICTURES)), frost.resize_factor(*sides))
        top, left = int(row * np.float32(rows - sides[0])), int(column * np.float32(columns - sides[1]))
        found.append((path, 1, top, left))
    return found


def _shared_fog(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    side = fog.map_side(*images.shape[1:3])
    return [(field,) for field in (rng.uniform(key, (side, side)) * 2 - 1).numpy().astype(np.float64)]


def _shared_elastic(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    corners = (rng.uniform(key.stream("corners"), (3, 2)) * 2 - 1).numpy()
    field = (rng.uniform(key.stream("field"), (2, *images.shape[1:3])) * 2 - 1).numpy().astype(np.float64)
    return [(points, *moves) for points, moves in zip(corners, field, strict=True)]


def _shared_layer(key: rng.Key, parameters: Parameters, images: np.ndarray) -> list[Fields]:
    return [(field,) for field in rng.normal(key, images.shape[1:3]).numpy().astype(np.float64)]


_SHARED: dict[str, Callable[[rng.Key, Parameters, np.ndarray], list[Fields]]] = {
    "gaussian_noise": _shared_normal,
    "speckle_noise": _shared_normal,
    "shot_noise": _shared_counts,
    "impulse_noise": _shared_impulse,
    "glass_blur": _shared_steps,
    "motion_blur": _shared_angle,
    "snow": _shared_snow,
    "frost": _shared_frost,
    "fog": _shared_fog,
    "elastic_transform": _shared_elastic,
    "spatter": _shared_layer,
}


def _own_normal(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return (random.standard_normal(image.shape),)


def _own_counts(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return (random.poisson(image / 255.0 * parameters[0]),)


def _own_impulse(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return random.random(image.shape) <= parameters[0], random.random(image.shape) <= 0.5


def _own_steps(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    delta, passes = int(parameters[1]), int(parameters[2])
    return (random.integers(-delta, delta, (passes, 2, *image.shape[:2])),)


def _own_angle(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return (random.uniform(-45, 45),)


def _own_snow(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return random.standard_normal(image.shape[:2]), random.uniform(-135, -45)


def _own_frost(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    sides = image.shape[:2]
    path, rows, columns = _ice(int(random.integers(5)), frost.resize_factor(*sides))
    return path, 1, int(random.integers(rows - sides[0])), int(random.integers(columns - sides[1]))


def _own_fog(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    side = fog.map_side(*image.shape[:2])
    return (random.uniform(-1, 1, (side, side)),)


def _own_elastic(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return random.uniform(-1, 1, (3, 2)), *random.uniform(-1, 1, (2, *image.shape[:2]))


def _own_layer(random: np.random.Generator, parameters: Parameters, image: np.ndarray) -> Fields:
    return (random.standard_normal(image.shape[:2]),)


_OWN: dict[str, Callable[[np.random.Generator, Parameters, np.ndarray], Fields]] = {
    "gaussian_noise": _own_normal,
    "speckle_noise": _own_normal,
    "shot_noise": _own_counts,
    "impulse_noise": _own_impulse,
    "glass_blur": _own_steps,
    "motion_blur": _own_angle,
    "snow": _own_snow,
    "frost": _own_frost,
    "fog": _own_fog,
    "elastic_transform": _own_elastic,
    "spatter": _own_layer,
}


@lru_cache(maxsize=16)
def _ice(number: int, factor: float) -> tuple[Path, int, int]:
    """The picture of ice, resized once by OpenCV as the definition would for each image, and its sides."""
    spec = importlib.util.find_spec("imagecorruptions")
    assert spec is not None and spec.submodule_search_locations is not None
    source = Path(spec.submodule_search_locations[0]) / "frost" / frost.PICTURES[number]
    picture = cv2.imread(str(source))
    if factor == 1:
        return source, *picture.shape[:2]
    picture = cv2.resize(picture, (0, 0), fx=factor, fy=factor)
    path = _folder() / f"{source.stem}-{factor:g}.png"
    cv2.imwrite(str(path), picture)
    return path, *picture.shape[:2]


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory()
    _KEPT.append(folder)  # removed when the process ends
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
