"""Elastic transform: the random field in one pass, and both resamplings where they are used.

What is smoothed is smoothed by the reference: there orders of summation would show.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import elastic as reference
from lnbench.corruptions.fused.planes import truncated
from lnbench.corruptions.fused.random import uniforms
from lnbench.corruptions.rng import Key
from lnbench.corruptions.smooth import smooth
from lnbench.lazy import torch

BLOCK = 256


@triton.jit
def warp(pixels, out, maps, across, down, height, width, BLOCK: tl.constexpr):
    """Resample bytes by each image's affine map, float32 (B, 6), mirrored at pixels: float32 (B, 3, H, W)."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * width
    inside = place < size
    row, column = (place // width).to(tl.float32), (place % width).to(tl.float32)
    a, b, c = tl.load(maps + 6 * image), tl.load(maps + 6 * image + 1), tl.load(maps + 6 * image + 2)
    d, e, f = tl.load(maps + 6 * image + 3), tl.load(maps + 6 * image + 4), tl.load(maps + 6 * image + 5)
    x = (a * across) * column + ((b * row + c) * across - 1.0)
    y = (d * down) * column + ((e * row + f) * down - 1.0)
    x = mirrored((x + 1.0) * 0.5 * (width - 1).to(tl.float32), 0.0, (width - 1).to(tl.float32))
    y = mirrored((y + 1.0) * 0.5 * (height - 1).to(tl.float32), 0.0, (height - 1).to(tl.float32))
    at = image.to(tl.int64) * 3 * size
    for channel in tl.static_range(3):
        level = between(pixels + at + channel * size, x, y, height, width, inside)
        tl.store(out + at + channel * size + place, level, mask=inside)


@triton.jit
def displace(planes, out, shifts, apart, across, down, height, width, BLOCK: tl.constexpr):
    """Resample float32 (B, 3, H, W) by shifts, mirrored at the edges of pixels, as bytes.

    `shifts`: an image's shifts along x, `apart` numbers further those along y, and so on.
    """
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * width
    inside = place < size
    wide, tall = width + tl.zeros((BLOCK,), tl.float32), height + tl.zeros((BLOCK,), tl.float32)
    field = shifts + image.to(tl.int64) * 2 * apart + place
    x = tl.div_rn((place % width).to(tl.float32) * 2.0 + 1.0, wide) - 1.0
    y = tl.div_rn((place // width).to(tl.float32) * 2.0 + 1.0, tall) - 1.0
    x = tl.fma(tl.load(field, mask=inside, other=0.0), across, x)
    y = tl.fma(tl.load(field + apart, mask=inside, other=0.0), down, y)
    x = mirrored(tl.fma(x + 1.0, wide, -1.0) * 0.5, -0.5, wide)
    y = mirrored(tl.fma(y + 1.0, tall, -1.0) * 0.5, -0.5, tall)
    at = image.to(tl.int64) * 3 * size
    for channel in tl.static_range(3):
        level = between(planes + at + channel * size, x, y, height, width, inside)
        tl.store(out + at + channel * size + place, truncated(level).to(tl.uint8), mask=inside)


@triton.jit
def mirrored(place, least, span):
    """A coordinate reflected at `least` and `least` + `span`."""
    off = tl.abs(place - least)
    turns = tl.floor(off / span)
    rest = off - turns * span
    odd = turns - 2.0 * tl.floor(turns * 0.5)
    return tl.where(odd == 0.0, rest + least, span - rest + least)


@triton.jit
def between(plane, x, y, height, width, inside):
    """Bilinear between the four pixels around a place, after it is clipped to the picture."""
    x = tl.minimum(tl.maximum(x, 0.0), (width - 1).to(tl.float32))
    y = tl.minimum(tl.maximum(y, 0.0), (height - 1).to(tl.float32))
    left, top = tl.floor(x), tl.floor(y)
    column, row = left.to(tl.int32), top.to(tl.int32) * width
    after, below = column + 1 < width, row + width < height * width
    first = tl.load(plane + row + column, mask=inside, other=0).to(tl.float32)
    second = tl.load(plane + row + column + 1, mask=inside & after, other=0).to(tl.float32)
    third = tl.load(plane + row + width + column, mask=inside & below, other=0).to(tl.float32)
    fourth = tl.load(plane + row + width + column + 1, mask=inside & after & below, other=0).to(tl.float32)
    right, under = x - left, y - top
    near, high = (left + 1.0) - x, (top + 1.0) - y
    total = first * (near * high)
    total = tl.fma(second, right * high, total)
    total = tl.fma(third, near * under, total)
    return tl.fma(fourth, right * under, total)


def elastic_transform(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `elastic.elastic_transform`; without displacement that itself."""
    alpha, sigma, affine = parameters
    if not alpha:
        return reference.elastic_transform(pixels, parameters, key)
    images, (height, width), size = len(pixels), pixels.shape[2:], pixels[0, 0].numel()
    corners = uniforms(key.stream("corners"), 6).view(-1, 3, 2)
    field = uniforms(key.stream("field"), 2 * size).view(-1, height, width)
    maps = torch.stack(reference._map(corners * affine, height, width), 1).to(torch.float32)
    shifts = smooth(field, sigma, truncate=3, border="reflect")
    planes = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
    grid = (triton.cdiv(size, BLOCK), images)
    warp[grid](
        pixels, planes, maps, 2 / (width - 1), 2 / (height - 1), height, width,
        BLOCK=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    out = torch.empty_like(pixels)
    displace[grid](
        planes, out, shifts, shifts.stride(0), 2 * alpha / width, 2 * alpha / height, height, width,
        BLOCK=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    return out
