"""Spatter: its random layer, the outlines of its drops, and the distances to them step by step."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import outline
from lnbench.corruptions import spatter as reference
from lnbench.corruptions.fused.random import normals
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

BLOCK = 512
_KIND = tl.constexpr(1 << 12)  # above the strength of a gradient, at most 2040: the direction it has
_WEAK, _EDGE = tl.constexpr(1), tl.constexpr(3)


@triton.jit
def slopes(layer, out, height, width, BLOCK: tl.constexpr):
    """Strength and kind of each gradient, int16: 0 and 1 diagonal, 2 flat, 3 steep; as `outline.canny`."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // width, place % width
    inside = place < height * width
    plane = layer + tl.program_id(1).to(tl.int64) * height * width
    above, below = plane + tl.maximum(row - 1, 0) * width, plane + tl.minimum(row + 1, height - 1) * width
    here, left = plane + row * width, tl.maximum(column - 1, 0)
    right = tl.minimum(column + 1, width - 1)
    top_left = tl.load(above + left, mask=inside, other=0).to(tl.int32)
    top = tl.load(above + column, mask=inside, other=0).to(tl.int32)
    top_right = tl.load(above + right, mask=inside, other=0).to(tl.int32)
    before = tl.load(here + left, mask=inside, other=0).to(tl.int32)
    after = tl.load(here + right, mask=inside, other=0).to(tl.int32)
    low_left = tl.load(below + left, mask=inside, other=0).to(tl.int32)
    low = tl.load(below + column, mask=inside, other=0).to(tl.int32)
    low_right = tl.load(below + right, mask=inside, other=0).to(tl.int32)
    across = (top_right - top_left) + (low_right - low_left) + 2 * (after - before)
    down = (low_left - top_left) + (low_right - top_right) + 2 * (low - top)
    falling = ((across ^ down) >> 31) & 1
    x, y = tl.abs(across), tl.abs(down)
    flat, steep = y * 32768 < x * 13573, x * 79109 < y * 32768
    kind = tl.where(flat, 2, tl.where(steep, 3, falling))
    at = out + tl.program_id(1).to(tl.int64) * height * width + place
    tl.store(at, (x + y + kind * _KIND).to(tl.int16), mask=inside)


@triton.jit
def peaks(slope, out, least, strong, height, width, BLOCK: tl.constexpr):
    """Mark gradients that are peaks along their direction: 1 above `least`, 3 above `strong`, bytes."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // width, place % width
    inside = place < height * width
    at = slope + tl.program_id(1).to(tl.int64) * height * width + place
    found = tl.load(at, mask=inside, other=0).to(tl.int32)
    strength, kind = found & (_KIND - 1), found // _KIND
    # One step along the gradient: to the right, down, or down on either diagonal; the other one opposite.
    right = tl.where(kind == 3, 0, tl.where(kind == 1, -1, 1))
    down = tl.where(kind == 2, 0, 1)
    ahead = inside & (row + down < height) & (column + right >= 0) & (column + right < width)
    behind = inside & (row - down >= 0) & (column - right >= 0) & (column - right < width)
    step = down * width + right
    next_ = tl.load(at + step, mask=ahead, other=0).to(tl.int32) & (_KIND - 1)
    last = tl.load(at - step, mask=behind, other=0).to(tl.int32) & (_KIND - 1)
    # Of equal neighbors along rows and columns the first is the peak, along diagonals none.
    peak = (strength > last) & ((strength > next_) | ((kind >= 2) & (strength == next_)))
    mark = tl.where(peak & (strength > least), tl.where(strength > strong, _EDGE, _WEAK), 0)
    at = out + tl.program_id(1).to(tl.int64) * height * width + place
    tl.store(at, mark.to(tl.uint8), mask=inside)


@triton.jit
def follow(marks, out, height, width, BLOCK: tl.constexpr):
    """Weak marks beside an edge become edges."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // width, place % width
    inside = place < height * width
    at = marks + tl.program_id(1).to(tl.int64) * height * width + place
    found = tl.load(at, mask=inside, other=0).to(tl.int32)
    near = found
    for y in tl.static_range(-1, 2):
        for x in tl.static_range(-1, 2):
            there = inside & (row + y >= 0) & (row + y < height) & (column + x >= 0) & (column + x < width)
            near = near | tl.load(at + y * width + x, mask=there, other=0).to(tl.int32)
    mark = tl.where((found & _WEAK) > 0, found | (near & 2), 0)
    at = out + tl.program_id(1).to(tl.int64) * height * width + place
    tl.store(at, mark.to(tl.uint8), mask=inside)


@triton.jit
def start(marks, out, far, height, width, BLOCK: tl.constexpr):
    """No distance on an edge, `far` elsewhere: int16."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = tl.program_id(1).to(tl.int64) * height * width + place
    mark = tl.load(marks + at, mask=place < height * width, other=0)
    tl.store(out + at, tl.where(mark == _EDGE, 0, far).to(tl.int16), mask=place < height * width)


@triton.jit
def relax(field, out, y, x, cost, height, width, BLOCK: tl.constexpr):
    """The least of an int16 field and its copies moved by ±(y, x) plus `cost`, as `outline._relax`."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // width, place % width
    inside = place < height * width
    image = tl.program_id(1).to(tl.int64) * height * width
    at = field + image + place
    least = tl.load(at, mask=inside, other=0).to(tl.int32)
    ahead = inside & (row + y < height) & (column + x >= 0) & (column + x < width)
    behind = inside & (row >= y) & (column - x >= 0) & (column - x < width)
    step = y * width + x
    least = tl.minimum(least, tl.load(at + step, mask=ahead, other=32767).to(tl.int32) + cost)
    least = tl.minimum(least, tl.load(at - step, mask=behind, other=32767).to(tl.int32) + cost)
    tl.store(out + image + place, least.to(tl.int16), mask=inside)


def spatter(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `spatter.spatter`."""
    height, width = pixels.shape[2:]
    field = normals(key, height * width).view(-1, height, width)
    return reference.spatter_from_field(pixels, parameters, field, outlined)


def outlined(liquid: torch.Tensor) -> torch.Tensor:
    """As `spatter.outlined`: the distance to the outlines of int16 (B, H, W)."""
    images, height, width = liquid.shape
    field, other = torch.empty_like(liquid), torch.empty_like(liquid)
    marks = torch.empty(liquid.shape, dtype=torch.uint8, device=liquid.device)
    more = torch.empty_like(marks)
    grid = (triton.cdiv(height * width, BLOCK), images)
    exact = {"BLOCK": BLOCK, "enable_fp_fusion": False}
    slopes[grid](liquid.contiguous(), field, height, width, **exact)
    peaks[grid](field, marks, *reference.THRESHOLDS, height, width, **exact)
    for _ in range(outline.FOLLOW):
        follow[grid](marks, more, height, width, **exact)
        marks, more = more, marks
    start[grid](marks, field, outline.FAR * outline.UNIT, height, width, **exact)
    for y, x, cost in outline.STEPS:
        relax[grid](field, other, y, x, cost, height, width, **exact)
        field, other = other, field
    return field
