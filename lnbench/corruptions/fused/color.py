"""Brightness and saturation by way of HSV, a pixel in registers: as `color`, without its tables."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions.fused.numbers import doubles
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

BLOCK = 512


@triton.jit
def levels(plane):
    """Scale 0–1 to 8 bits, truncating."""
    return (plane * 255.0).to(tl.int32)


@triton.jit
def adjust(pixels, out, numbers, size, BLOCK: tl.constexpr):
    """`numbers`: factor and shift of the saturation, shift of the value, float64."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    at = tl.program_id(1).to(tl.int64) * 3 * size + place
    factor, shift, brighter = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    red = tl.load(pixels + at, mask=inside, other=0).to(tl.int32)
    green = tl.load(pixels + at + size, mask=inside, other=0).to(tl.int32)
    blue = tl.load(pixels + at + 2 * size, mask=inside, other=0).to(tl.int32)
    high = tl.maximum(tl.maximum(red, green), blue)
    low = tl.minimum(tl.minimum(red, green), blue)
    blue_high = blue == high
    green_high = (green == high) & (blue != high)
    first = tl.where(blue_high, red, tl.where(green_high, blue, green))
    second = tl.where(blue_high, green, tl.where(green_high, red, blue))
    sector = tl.where(blue_high, 4, tl.where(green_high, 2, 0)).to(tl.float64)

    value = high.to(tl.float64) / 255.0
    spread = value - low.to(tl.float64) / 255.0
    hue = first.to(tl.float64) / 255.0 - second.to(tl.float64) / 255.0
    hue = (hue / tl.maximum(spread, 1e-9) + sector) / 6.0
    hue = (hue - tl.floor(hue)) * 6.0
    fraction = hue - tl.floor(hue)
    rising = (first >= second).to(tl.float64)

    saturation = spread / tl.maximum(value, 1e-9)
    saturation = tl.minimum(tl.maximum(saturation * factor + shift, 0.0), 1.0)
    value = tl.minimum(tl.maximum(value + brighter, 0.0), 1.0)
    middle = levels((1.0 - tl.abs(rising - fraction) * saturation) * value)
    least = levels((1.0 - saturation) * value)
    most = levels(value)

    colored = high != low
    red_out = tl.where(red == high, most, tl.where(red == low, least, middle))
    green_out = tl.where((green == high) & colored, most, tl.where(green == low, least, middle))
    blue_out = tl.where((blue == high) & colored, most, tl.where(blue == low, least, middle))
    tl.store(out + at, red_out.to(tl.uint8), mask=inside)
    tl.store(out + at + size, green_out.to(tl.uint8), mask=inside)
    tl.store(out + at + 2 * size, blue_out.to(tl.uint8), mask=inside)


def brightness(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `color.brightness`."""
    return _adjusted(pixels, 1.0, 0.0, parameters[0])


def saturate(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `color.saturate`."""
    return _adjusted(pixels, *parameters, 0.0)


def _adjusted(pixels: torch.Tensor, *numbers: float) -> torch.Tensor:
    out, size = torch.empty_like(pixels), pixels[0, 0].numel()
    # A fused multiply-add would round once where the reference rounds twice.
    adjust[(triton.cdiv(size, BLOCK), len(pixels))](
        pixels, out, doubles(numbers, pixels.device), size, BLOCK=BLOCK, enable_fp_fusion=False
    )
    return out
