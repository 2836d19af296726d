"""Spatter: water, from its random layer to the pixels; mud's few passes are the first form's.

A few planes of bytes are what is written on the way: the liquid, slopes of it, edges (four pixels to a
word), how far along its row each pixel has an edge, how far at all, the light on drops.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import outline
from lnbench.corruptions import spatter as reference
from lnbench.corruptions.fused.numbers import doubles
from lnbench.corruptions.fused.planes import kept, truncated
from lnbench.corruptions.fused.random import normals
from lnbench.corruptions.rng import Key
from lnbench.corruptions.smooth import smooth
from lnbench.lazy import torch

BLOCK = 512
EXACT = {"BLOCK": BLOCK, "enable_fp_fusion": False}
_KIND = tl.constexpr(1 << 12)  # above the strength of a gradient, at most 2040: the direction it has
_WEAK, _EDGE = tl.constexpr(1), tl.constexpr(3)
_EVERY = tl.constexpr(0x01010101)
_FAR = tl.constexpr(outline.FAR)
_WINDOW, _BEYOND = tl.constexpr((1 << outline.FAR) - 1), tl.constexpr(1 << outline.FAR)  # bits of pixels
_STRAIGHT, _DIAGONAL, _KNIGHT = map(tl.constexpr, outline.COSTS)
_LEVELS = tl.constexpr(32)  # counted: 0 … FAR, and one for what lies outside


@triton.jit
def pour(layer, numbers, out, size, stride, BLOCK: tl.constexpr):
    """Bytes of liquid from the smoothed float64 layer; `numbers`: scale, mean and threshold, float64.

    `stride`: from one image of the layer to the next.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = tl.program_id(1).to(tl.int64) * size + place
    there = layer + tl.program_id(1).to(tl.int64) * stride + place
    depth = tl.load(there, mask=place < size, other=0.0) * tl.load(numbers) + tl.load(numbers + 1)
    depth = tl.where(depth > tl.load(numbers + 2), depth, 0.0) * 255.0
    tl.store(out + at, (depth.to(tl.int32) & 255).to(tl.uint8), mask=place < size)


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
def peaks(slope, out, least, strong, height, width, stride, BLOCK: tl.constexpr):
    """Mark gradients that are peaks along their direction: 1 above `least`, 3 above `strong`, bytes.

    `stride`: of the result's rows, which end in bytes without a mark.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // stride, place % stride
    inside = (place < height * stride) & (column < width)
    at = slope + tl.program_id(1).to(tl.int64) * height * width + row * width + column
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
    at = out + tl.program_id(1).to(tl.int64) * height * stride + place
    tl.store(at, mark.to(tl.uint8), mask=place < height * stride)


@triton.jit
def grow(marks, out, height, across, BLOCK: tl.constexpr):
    """Weak marks beside an edge become edges, four to a word: int32 (H, across)."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // across, place % across
    inside = place < height * across
    at = marks + tl.program_id(1).to(tl.int64) * height * across + place
    found = tl.load(at, mask=inside, other=0)
    near = found
    for y in tl.static_range(-1, 2):
        there = inside & (row + y >= 0) & (row + y < height)
        here = tl.load(at + y * across, mask=there, other=0)
        before = tl.load(at + y * across - 1, mask=there & (column > 0), other=0)
        after = tl.load(at + y * across + 1, mask=there & (column + 1 < across), other=0)
        near = near | here | (here << 8) | (here >> 8) | (before >> 24) | (after << 24)
    mark = found | (near & ((found & _EVERY) << 1))  # the second bit makes a weak mark an edge
    tl.store(out + tl.program_id(1).to(tl.int64) * height * across + place, mark, mask=inside)


@triton.jit
def along(marks, out, height, width, across, BLOCK: tl.constexpr):
    """How far each pixel's nearest edge in its row is, at most FAR: bytes (H, W) from words (H, across)."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = place // across, place % across
    inside = place < height * across
    at = marks + tl.program_id(1).to(tl.int64) * height * across + place
    edges = tl.zeros((BLOCK,), tl.int64)  # of 44 pixels, this word's from bit 20 on
    for word in tl.static_range(-5, 6):
        there = inside & (column + word >= 0) & (column + word < across)
        found = (tl.load(at + word, mask=there, other=0) >> 1) & _EVERY
        four = (found | (found >> 7) | (found >> 14) | (found >> 21)) & 15
        edges = edges | (four.to(tl.int64) << (4 * word + 20))
    target = out + tl.program_id(1).to(tl.int64) * height * width + row * width + 4 * column
    for pixel in tl.static_range(4):
        right = (edges >> (20 + pixel)).to(tl.int32) & _WINDOW
        left = (edges >> (1 + pixel)).to(tl.int32) & _WINDOW  # its own is the highest bit
        right = right | _BEYOND
        # The exponent of a power of two, and of a number below 2^24, is the place of its highest bit.
        after = ((right & -right).to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
        before = _FAR - 1 - ((left.to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127)
        tl.store(
            target + pixel, tl.minimum(after, before).to(tl.uint8), mask=inside & (4 * column + pixel < width)
        )


@triton.jit
def reach(near, out, height, width, BLOCK: tl.constexpr):
    """The chamfer distance to the nearest edge, as `outline.distance`: int16 from distances along rows.

    In a row the nearest edge is the one to take. To a place (x, y) off, the longer way being a and the
    shorter b, the shortest path has b knight's moves and straight steps where 2b ≤ a, else knight's
    moves and diagonal ones; the longer of the two formulas is the one that holds.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = place // width
    inside = place < height * width
    at = near + tl.program_id(1).to(tl.int64) * height * width + place
    least = tl.load(at, mask=inside, other=_FAR).to(tl.int32) * _STRAIGHT
    for y in tl.static_range(1, _FAR):
        below = tl.load(at + y * width, mask=inside & (row + y < height), other=_FAR).to(tl.int32)
        above = tl.load(at - y * width, mask=inside & (row >= y), other=_FAR).to(tl.int32)
        x = tl.minimum(below, above)
        long, short = tl.maximum(x, y), tl.minimum(x, y)
        flat = _STRAIGHT * long + (_KNIGHT - 2 * _STRAIGHT) * short
        slanted = (_KNIGHT - _DIAGONAL) * long + (2 * _DIAGONAL - _KNIGHT) * short
        least = tl.minimum(least, tl.maximum(flat, slanted))
    least = tl.minimum(least, _FAR * _STRAIGHT)
    at = out + tl.program_id(1).to(tl.int64) * height * width + place
    tl.store(at, least.to(tl.int16), mask=inside)


@triton.jit
def average(away, out, counts, scale, height, width, BLOCK: tl.constexpr):
    """Whole pixels of the distances' mean over 3×3, bytes, and how many there are of each: int32 (B, 32)."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < height * width
    plane = away + tl.program_id(1).to(tl.int64) * height * width
    total = around(plane, place // width, place % width, height, width, inside).to(tl.float32)
    mean = (total * scale + 1e-5).to(tl.int32)
    tl.store(out + tl.program_id(1).to(tl.int64) * height * width + place, mean.to(tl.uint8), mask=inside)
    found = tl.histogram(tl.where(inside, mean, _LEVELS - 1), _LEVELS)
    tl.atomic_add(counts + tl.program_id(1) * _LEVELS + tl.arange(0, _LEVELS), found, sem="relaxed")


@triton.jit
def around(plane, row, column, height, width, inside):
    """The sum over 3×3, beyond the edges mirrored: int32."""
    left, right = kept(column - 1, width, True), kept(column + 1, width, True)
    total = tl.zeros_like(row)
    for y in tl.static_range(-1, 2):
        line = plane + kept(row + y, height, True) * width
        total += tl.load(line + left, mask=inside, other=0).to(tl.int32)
        total += tl.load(line + column, mask=inside, other=0).to(tl.int32)
        total += tl.load(line + right, mask=inside, other=0).to(tl.int32)
    return total


@triton.jit
def light(mean, table, out, height, width, levels, BLOCK: tl.constexpr):
    """Levels by the images' tables, int16 (B, levels), lit from one side: bytes."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < height * width
    row, column = place // width, place % width
    plane = mean + tl.program_id(1).to(tl.int64) * height * width
    table += tl.program_id(1) * levels
    above, below = plane + kept(row - 1, height, True) * width, plane + kept(row + 1, height, True) * width
    here = plane + row * width
    left, right = kept(column - 1, width, True), kept(column + 1, width, True)
    lit = 2 * (height_of(below + right, table, inside) - height_of(above + left, table, inside))
    lit += height_of(here + column, table, inside) + height_of(here + right, table, inside)
    lit += height_of(below + column, table, inside) - height_of(above + column, table, inside)
    lit -= height_of(here + left, table, inside)
    lit = tl.minimum(tl.maximum(lit, 0), 255)
    tl.store(out + tl.program_id(1).to(tl.int64) * height * width + place, lit.to(tl.uint8), mask=inside)


@triton.jit
def height_of(at, table, inside):
    return tl.load(table + tl.load(at, mask=inside, other=0).to(tl.int32), mask=inside, other=0).to(tl.int32)


@triton.jit
def shine(lit, liquid, out, brightest, height, width, BLOCK: tl.constexpr):
    """The light's mean over 3×3, bytes, and the brightest stain of each image, int32 (B,)."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < height * width
    plane = tl.program_id(1).to(tl.int64) * height * width
    total = around(lit + plane, place // width, place % width, height, width, inside).to(tl.float32)
    mean = (total * (1 / 9) + 0.5).to(tl.int32)
    tl.store(out + plane + place, mean.to(tl.uint8), mask=inside)
    stain = tl.where(inside, mean * tl.load(liquid + plane + place, mask=inside, other=0).to(tl.int32), 0)
    tl.atomic_max(brightest + tl.program_id(1), tl.max(stain, 0), sem="relaxed")


@triton.jit
def wet(
    pixels, liquid, relief, strength, out, size,
    RED: tl.constexpr, GREEN: tl.constexpr, BLUE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add water of a color; `strength`: of each image's stain, float32 (B,)."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    plane = tl.program_id(1).to(tl.int64) * size + place
    depth = tl.load(liquid + plane, mask=inside, other=0).to(tl.int32)
    stain = (depth * tl.load(relief + plane, mask=inside, other=0).to(tl.int32)).to(tl.float32)
    stain = stain * tl.load(strength + tl.program_id(1))
    at = tl.program_id(1).to(tl.int64) * 3 * size + place
    for channel in tl.static_range(3):
        color = RED if channel == 0 else GREEN if channel == 1 else BLUE
        x = tl.load(pixels + at + channel * size, mask=inside, other=0).to(tl.float32)
        x = tl.fma(stain, tl.full((BLOCK,), color, tl.float32), x)
        tl.store(out + at + channel * size, truncated(x).to(tl.uint8), mask=inside)


def spatter(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `spatter.spatter`."""
    mean, scale, sigma, threshold, intensity, mud = parameters
    images, _, height, width = pixels.shape
    field = normals(key, height * width).view(-1, height, width)
    if mud:
        return reference.spatter_from_field(pixels, parameters, field)
    layer = smooth(field.to(torch.float64), sigma, truncate=4, border="nearest")
    assert layer.stride()[1:] == (width, 1)
    numbers = doubles((scale, mean, threshold), pixels.device)
    liquid = torch.empty(layer.shape, dtype=torch.uint8, device=pixels.device)
    grid = (triton.cdiv(height * width, BLOCK), images)
    pour[grid](layer, numbers, liquid, height * width, layer.stride(0), **EXACT)
    shining, brightest = relief(liquid)
    strength = intensity / brightest.to(torch.float32).clamp_min(1)
    out = torch.empty_like(pixels)
    red, green, blue = reference.WATER
    wet[grid](pixels, liquid, shining, strength, out, height * width, red, green, blue, **EXACT)
    return out


def edges(liquid: torch.Tensor) -> torch.Tensor:
    """`outline.canny` of bytes (B, H, W): int32 (B, H, W / 4), a byte of 3 for an edge."""
    images, height, width = liquid.shape
    across = -(-width // 4)
    slope = torch.empty(liquid.shape, dtype=torch.int16, device=liquid.device)
    marks = torch.empty((images, height, across), dtype=torch.int32, device=liquid.device)
    more = torch.empty_like(marks)
    slopes[(triton.cdiv(height * width, BLOCK), images)](liquid, slope, height, width, **EXACT)
    peaks[(triton.cdiv(4 * height * across, BLOCK), images)](
        slope, marks.view(torch.uint8), *reference.THRESHOLDS, height, width, 4 * across, **EXACT
    )
    for _ in range(outline.FOLLOW):
        grow[(triton.cdiv(height * across, BLOCK), images)](marks, more, height, across, **EXACT)
        marks, more = more, marks
    return marks


def distance(marks: torch.Tensor, width: int) -> torch.Tensor:
    """`outline.distance` of the edges of pictures as wide as that: int16 (B, H, W)."""
    images, height, across = marks.shape
    near = torch.empty((images, height, width), dtype=torch.uint8, device=marks.device)
    away = torch.empty(near.shape, dtype=torch.int16, device=marks.device)
    along[(triton.cdiv(height * across, BLOCK), images)](marks, near, height, width, across, **EXACT)
    reach[(triton.cdiv(height * width, BLOCK), images)](near, away, height, width, **EXACT)
    return away


def relief(liquid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`spatter.relief` of bytes (B, H, W), likewise bytes, and its brightest product with the liquid (B,)."""
    images, height, width = liquid.shape
    grid = (triton.cdiv(height * width, BLOCK), images)
    away, device = distance(edges(liquid), width), liquid.device
    mean, lit, found = (torch.empty_like(liquid) for _ in range(3))
    counts = torch.zeros((images, _LEVELS.value), dtype=torch.int32, device=device)
    average[grid](away, mean, counts, 1 / (9 * outline.UNIT), height, width, **EXACT)
    table = reference.equalizing(counts[:, : outline.FAR + 1].to(torch.float32))
    light[grid](mean, table, lit, height, width, outline.FAR + 1, **EXACT)
    brightest = torch.zeros(images, dtype=torch.int32, device=device)
    shine[grid](lit, liquid, found, brightest, height, width, **EXACT)
    return found, brightest
