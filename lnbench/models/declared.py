"""What a network of a person's own says of its input and classes, beside it or in it as timm's do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, get_args

from torch import nn

from lnbench.errors import ModelError, unknown
from lnbench.files import one_line
from lnbench.types import Geometry, InputNormalization, Interpolation

CLASSES = "classes"
KEYS = ("mean", "std", "resize", "crop", "interpolation", CLASSES)
Declared = tuple[Geometry, InputNormalization]


def declared(network: nn.Module, said: object, where: str) -> Declared | None:
    """How to feed a network, by what its factory returned beside it, else by the network's own metadata.

    `said`: a mapping with some of `KEYS`, mean and std (on the 0–1 scale) among them unless it names the
    classes alone; or None. A network may carry timm's `pretrained_cfg` or `default_cfg`. None where neither
    says. Raises ModelError.
    """
    beside = _beside(said, where)
    if beside.keys() - {CLASSES}:
        return _mapping(beside, where)
    for name, config in _metadata(network):
        if config.get("mean") and config.get("std"):
            return _timm(config, f"{where}: its {name}")
    return None


def class_names(network: nn.Module, said: object, where: str) -> tuple[tuple[str, ...], ...]:
    """What a network's classes are called, in the order of its outputs, by what its factory said; or none.

    That is `classes` beside the network, a list of names; else `label_names` in its timm metadata, else an
    attribute `classes` that is such a list. Raises ModelError.
    """
    beside = _beside(said, where)
    if CLASSES in beside:
        if not _are_names(beside[CLASSES]):
            raise ModelError(f"{where}: classes are a list of names, in the order of the network's outputs")
        return tuple((name,) for name in beside[CLASSES])
    carried = [config.get("label_names") for _, config in _metadata(network)]
    found = next((names for names in (*carried, getattr(network, CLASSES, None)) if _are_names(names)), ())
    return tuple((str(name),) for name in found or ())


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(name, str) for name in value)


def _metadata(network: nn.Module) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in ("pretrained_cfg", "default_cfg"):
        config = getattr(network, name, None)
        config = getattr(config, "to_dict", lambda config=config: config)()
        if isinstance(config, Mapping):
            yield name, config


def _beside(said: object, where: str) -> Mapping[Any, Any]:
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise ModelError(
            f"{where} returned a {type(said).__name__} beside the network; preprocessing is a dict of "
            f"{', '.join(KEYS)}"
        )
    for key in said:
        if key not in KEYS:
            raise ModelError(f"{where}: {unknown('key of its preprocessing', one_line(key, 60), KEYS)}")
    return said


def _mapping(said: Mapping[Any, Any], where: str) -> Declared:
    if "mean" not in said or "std" not in said:
        raise ModelError(f"{where}: preprocessing says mean and std, three numbers each on the 0–1 scale")
    geometry = Geometry(
        _side(said.get("resize"), where, "resize"),
        _side(said.get("crop"), where, "crop"),
        _interpolation(said.get("interpolation", "bilinear"), where),
    )
    return geometry, _normalization(said, where)


def _timm(config: Mapping[str, Any], where: str) -> Declared:
    """The fields of timm's metadata; crop_pct is the part of the resized picture that the crop keeps."""
    size = config.get("test_input_size") or config.get("input_size") or (3, 224, 224)
    try:
        channels, height, width = (int(value) for value in size)
        part = float(config.get("test_crop_pct") or config.get("crop_pct") or 0.875)
        scaled = math.floor(height / part), math.floor(width / part)
    except (TypeError, ValueError, ZeroDivisionError):
        raise ModelError(f"{where}: input_size and crop_pct are not (3, height, width) and a part") from None
    if channels != 3:
        raise ModelError(f"{where}: {channels} channels; only RGB networks can be evaluated")
    if config.get("crop_mode") == "border":
        raise ModelError(
            f"{where}: pads its pictures, which is not supported; return a preprocessing of yours"
        )
    resize = scaled if config.get("crop_mode") == "squash" or height != width else scaled[0]
    crop = height if height == width else (height, width)
    chosen = _interpolation(config.get("interpolation") or "bicubic", where)
    return Geometry(resize, crop, chosen), _normalization(config, where)


def _normalization(said: Mapping[str, Any], where: str) -> InputNormalization:
    found = []
    for key in ("mean", "std"):
        try:
            r, g, b = (float(value) for value in said[key])
        except (TypeError, ValueError):
            raise ModelError(f"{where}: {key} is three numbers, not {one_line(said[key], 60)}") from None
        if not all(math.isfinite(value) and (key == "mean" or value > 0) for value in (r, g, b)):
            raise ModelError(f"{where}: {key} {r:g}, {g:g}, {b:g} cannot be")
        found.append((r, g, b))
    return InputNormalization(*found)


def _side(value: object, where: str, key: str) -> int | tuple[int, int] | None:
    if value is None:
        return None
    sides = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    if not whole or len(sides) not in (1, 2):
        raise ModelError(f"{where}: {key} is a side or (height, width) in pixels, not {one_line(value, 60)}")
    numbers = [cast(int, side) for side in sides]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _interpolation(value: object, where: str) -> Interpolation:
    if value not in get_args(Interpolation):
        known = ", ".join(get_args(Interpolation))
        raise ModelError(f"{where}: interpolation '{one_line(value, 60)}' is not known; known are {known}")
    return cast(Interpolation, value)
