"""Changes of color: contrast, brightness, saturate."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from lnbench.corruptions.imageops import over
from lnbench.corruptions.registry import corruption
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

# Results that are whole numbers must not be truncated to the one below: above the rounding error of
# float32 at 255, far below anything visible.
_NUDGE = 2.0**-15


@corruption(
    "contrast",
    family="digital",
    parameters={"factor": (0, 100)},
    tables={
        "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
        "tiny-imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    reference="contrast",
)
def contrast(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Scale by `parameters = (factor,)` around each channel's mean. Uint8 (B, 3, H, W) in and out."""
    (factor,) = parameters
    image = pixels.to(torch.float32)
    # Row sums are whole numbers below 2^24, so the mean is exact in any order of summation.
    mean = over(image.sum(3).sum(2, dtype=torch.float64), image[0, 0].numel())  # (B, 3)
    offset = (mean * (1 - factor) + _NUDGE).to(torch.float32)
    image = torch.add(offset[..., None, None], image, alpha=factor)
    return image.clamp_(0, 255).to(torch.int16).to(torch.uint8)


@corruption(
    "brightness",
    family="weather",
    parameters={"shift": (-1, 1)},
    tables={
        "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
        "tiny-imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
        "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    reference="brightness",
)
def brightness(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Add `parameters = (shift,)` to the value of HSV. Uint8 (B, 3, H, W) in and out."""
    (shift,) = parameters
    return _adjust_hsv(pixels, saturation_factor=1, saturation_shift=0, value_shift=shift)


@corruption(
    "saturate",
    family="extra",
    parameters={"factor": (0, 1_000), "shift": (-1, 1)},
    tables={
        "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "tiny-imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
    reference="saturate",
)
def saturate(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Map the saturation of HSV by `parameters = (factor, shift)`. Uint8 (B, 3, H, W) in and out."""
    factor, shift = parameters
    return _adjust_hsv(pixels, saturation_factor=factor, saturation_shift=shift, value_shift=0)


def _adjust_hsv(
    pixels: torch.Tensor, *, saturation_factor: float, saturation_shift: float, value_shift: float
) -> torch.Tensor:
    """Convert to HSV, change saturation and value, clip, and convert back.

    Many results are whole numbers by the formula, so what truncation to 8 bits makes of them is up to
    the rounding errors. This repeats those of scikit-image's rgb2hsv and hsv2rgb in float64, operation
    by operation, but once for each role a channel can play instead of once for each channel: the
    largest becomes V, the smallest V(1 - S), the middle one V(1 - fS) or V(1 - (1 - f)S). What depends
    on two levels alone is looked up.
    """
    red, green, blue = pixels.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    blue_high = _mask(blue == high)
    green_high = _mask(green == high) & ~blue_high
    # Hue is (sector + (first - second) / spread) / 6, with the two channels that follow the largest
    # in the cycle red, green, blue.
    first = _pick(blue_high, red, _pick(green_high, blue, green))
    second = _pick(blue_high, green, _pick(green_high, red, blue))
    sector = (blue_high & 4) | (green_high & 2)

    tables = _hsv_tables(saturation_factor, saturation_shift, value_shift, pixels.device)
    pair = _pairs(high, low)
    hue = tables.spread.index_select(0, _pairs(first, second))
    # Divisors are tensors: CUDA turns division by a Python number into a product, which rounds otherwise.
    hue.div_(tables.divisor.index_select(0, pair)).add_(sector.view(-1)).div_(hue.new_full((), 6))
    hue.sub_(hue.floor()).mul_(6)
    fraction = hue.sub_(hue.floor())
    rising = (first >= second).to(torch.float64).view(-1)  # 1 in sectors where V(1 - (1 - f)S)
    middle = rising.sub_(fraction).abs_().mul_(tables.saturation.index_select(0, pair)).neg_().add_(1)
    middle = _levels(middle.mul_(tables.value.index_select(0, pair))).view_as(high)
    least = tables.least.index_select(0, pair).view_as(high)
    most = tables.most.index_select(0, pair).view_as(high)

    colored = _mask(high != low)
    out = torch.empty_like(pixels)
    for channel, plane in enumerate((red, green, blue)):
        largest = _mask(plane == high)
        if channel > 0:  # grays have hue 0: their red is the largest, the others are the smallest
            largest &= colored
        out[:, channel] = _pick(largest, most, _pick(_mask(plane == low), least, middle))
    return out


class _Tables(NamedTuple):
    """What two levels a and b decide, at 256·a + b: float64 (65536,), but the last two uint8."""

    spread: torch.Tensor
    """a - b on the 0–1 scale."""
    divisor: torch.Tensor
    """The same, not 0."""
    saturation: torch.Tensor
    """Of a pixel whose largest level is a and smallest b, adjusted; likewise the others."""
    value: torch.Tensor
    least: torch.Tensor
    most: torch.Tensor


@lru_cache(maxsize=16)
def _hsv_tables(factor: float, shift: float, value_shift: float, device: torch.device) -> _Tables:
    levels = over(torch.arange(256, dtype=torch.float64, device=device), 255)
    value = levels[:, None].expand(256, 256)
    spread = value - levels
    divisor = spread.clamp_min(1e-9)
    saturation = (spread / value.clamp_min(1e-9)).mul_(factor).add_(shift).clamp_(0, 1)
    value = (value + value_shift).clamp_(0, 1)
    least = _levels(saturation.neg().add_(1).mul_(value))
    tables = (spread, divisor, saturation, value, least, _levels(value))
    return _Tables(*(table.flatten() for table in tables))


def _pairs(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """256·first + second of uint8 tensors of one shape: int32, flat."""
    return first.to(torch.int32).mul_(256).add_(second).view(-1)


def _mask(condition: torch.Tensor) -> torch.Tensor:
    """Turn a bool tensor into uint8 0 or 255."""
    return condition.to(torch.uint8).neg_()  # a view of bools does not compile for a GPU


def _pick(mask: torch.Tensor, chosen: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Choose between uint8 tensors by a mask of 0 and 255; on CPUs many times faster than torch.where."""
    return (chosen ^ other).bitwise_and_(mask).bitwise_xor_(other)


def _levels(plane: torch.Tensor) -> torch.Tensor:
    """Scale 0–1 to 8 bits, truncating. By way of int16: PyTorch vectorizes that on CPUs."""
    return (plane * 255).to(torch.int16).to(torch.uint8)
