"""The four noises: random words, table and pixel meet in registers; only pixels are read and written."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import noise, rng
from lnbench.corruptions.fused.random import level, states, two_words
from lnbench.lazy import torch

BLOCK = 1024


@triton.jit
def add_offset(pixels, out, states, table, size, BLOCK: tl.constexpr):
    """x + table[level], clipped: gaussian noise."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    index = level(place, tl.load(states + 2 * image), tl.load(states + 2 * image + 1))
    at = image.to(tl.int64) * size + place
    x = tl.load(pixels + at, mask=inside, other=0).to(tl.int32) + tl.load(table + index).to(tl.int32)
    tl.store(out + at, tl.minimum(tl.maximum(x, 0), 255).to(tl.uint8), mask=inside)


@triton.jit
def times_factor(pixels, out, states, table, size, BLOCK: tl.constexpr):
    """x · table[level], clipped and truncated: speckle noise."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    index = level(place, tl.load(states + 2 * image), tl.load(states + 2 * image + 1))
    at = image.to(tl.int64) * size + place
    x = tl.load(table + index) * tl.load(pixels + at, mask=inside, other=0).to(tl.float32)
    x = tl.minimum(tl.maximum(x, 0.0), 255.0)
    tl.store(out + at, x.to(tl.int32).to(tl.uint8), mask=inside)


@triton.jit
def salt_and_pepper(pixels, out, states, low, high, size, BLOCK: tl.constexpr):
    """Black below `low`, white above `high`, of signed 16-bit levels: impulse noise."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    signed = level(place, tl.load(states + 2 * image), tl.load(states + 2 * image + 1)) - 32768
    excess = signed - tl.minimum(tl.maximum(signed, low), high)
    at = image.to(tl.int64) * size + place
    x = tl.load(pixels + at, mask=inside, other=0).to(tl.int32)
    x += tl.minimum(tl.maximum(excess, -1), 1) * 255
    tl.store(out + at, tl.minimum(tl.maximum(x, 0), 255).to(tl.uint8), mask=inside)


@triton.jit
def drawn_from(pixels, out, states, table, columns, size, BLOCK: tl.constexpr):
    """Walker's alias table of a pixel's level, entered by one word: shot noise."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    number = two_words(place >> 1, tl.load(states + 2 * image), tl.load(states + 2 * image + 1))
    word = (number >> ((place & 1) * 32).to(tl.int64)).to(tl.int32)
    at = image.to(tl.int64) * size + place
    x = tl.load(pixels + at, mask=inside, other=0).to(tl.int32)
    entry = tl.load(table + ((word >> 16) & (columns - 1)) + x * columns)
    under = ((word & 0xFFFF) - ((entry >> 16) & 0xFFFF)) >> 31  # -1 or 0
    tl.store(out + at, ((entry >> ((under + 1) * 8)) & 0xFF).to(tl.uint8), mask=inside)


def gaussian_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `noise.gaussian_noise`."""
    return _run(add_offset, pixels, key, noise._offsets(parameters[0], pixels.device))


def speckle_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `noise.speckle_noise`."""
    return _run(times_factor, pixels, key, noise._factors(parameters[0], pixels.device))


def impulse_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `noise.impulse_noise`."""
    half = round(parameters[0] / 2 * 65536)
    return _run(salt_and_pepper, pixels, key, half - 32768, 32767 - half)


def shot_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `noise.shot_noise`."""
    return _run(drawn_from, pixels, key, *noise._poisson_columns(parameters[0], pixels.device))


def _run(kernel, pixels: torch.Tensor, key: rng.Key, *operands: object) -> torch.Tensor:
    out, size = torch.empty_like(pixels), pixels[0].numel()
    grid = (triton.cdiv(size, BLOCK), len(pixels))
    kernel[grid](pixels, out, states(key), *operands, size, BLOCK=BLOCK, enable_fp_fusion=False)
    return out
