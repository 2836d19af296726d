"""Fog: the cloud grown level by level from random words made on the spot, and laid over the pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import fog as reference
from lnbench.corruptions.fused.planes import truncated
from lnbench.corruptions.fused.random import states, uniform
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

BLOCK = 256


@triton.jit
def sow(out, states, side, coarse, BLOCK: tl.constexpr):
    """The numbers that a field of `side` has on a grid of `coarse` by `coarse`: float32 (B, coarse²)."""
    image = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    step = side // coarse
    there = place // coarse * step * side + place % coarse * step
    number = uniform(there, tl.load(states + 2 * image), tl.load(states + 2 * image + 1))
    tl.store(out + image.to(tl.int64) * coarse * coarse + place, number, mask=place < coarse * coarse)


@triton.jit
def refine(corners, out, states, side, step, amplitude, BLOCK: tl.constexpr):
    """Double maps of `side` by `side`, as `fog._refine`; `step`: from number to number of the field."""
    image = tl.program_id(1)
    first, second = tl.load(states + 2 * image), tl.load(states + 2 * image + 1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < side * side
    y, x = place // side, place % side
    up, down = (y + side - 1) % side * side, (y + 1) % side * side
    left, right = (x + side - 1) % side, (x + 1) % side
    row = y * side
    map_ = corners + image.to(tl.int64) * side * side
    here = tl.load(map_ + row + x, mask=inside, other=0.0)
    after = tl.load(map_ + row + right, mask=inside, other=0.0)
    under = tl.load(map_ + down + x, mask=inside, other=0.0)
    corner = tl.load(map_ + down + right, mask=inside, other=0.0)
    above = tl.load(map_ + up + x, mask=inside, other=0.0)
    above_after = tl.load(map_ + up + right, mask=inside, other=0.0)
    before = tl.load(map_ + row + left, mask=inside, other=0.0)
    before_under = tl.load(map_ + down + left, mask=inside, other=0.0)

    wide = 2 * side * step  # of the whole field
    odd_row, odd_column = (2 * y + 1) * step * wide, (2 * x + 1) * step
    there = uniform(odd_row + odd_column, first, second)
    over = uniform((2 * (up // side) + 1) * step * wide + odd_column, first, second)
    aside = uniform(odd_row + (2 * left + 1) * step, first, second)
    across = here + after
    square = (across + (under + corner)) * 0.25 + amplitude * there
    square_over = ((above + above_after) + across) * 0.25 + amplitude * over
    square_aside = ((before + here) + (before_under + under)) * 0.25 + amplitude * aside
    flat = uniform(2 * y * step * wide + odd_column, first, second)
    steep = uniform(odd_row + 2 * x * step, first, second)
    across = ((across + square) + square_over) * 0.25 + amplitude * flat
    along = (((here + under) + square) + square_aside) * 0.25 + amplitude * steep
    at = out + image.to(tl.int64) * 4 * side * side + 4 * y * side + 2 * x
    tl.store(at, here, mask=inside)
    tl.store(at + 1, across, mask=inside)
    tl.store(at + 2 * side, along, mask=inside)
    tl.store(at + 2 * side + 1, square, mask=inside)


@triton.jit
def veil(pixels, out, cloud, strength, side, size, width, BLOCK: tl.constexpr):
    """Fade pixels and add the cloud. `strength`: of each image what multiplies its pixels and its cloud, and
    what is taken off the cloud, float32 (B, 3).
    """
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    fade, scale = tl.load(strength + 3 * image), tl.load(strength + 3 * image + 1)
    low = tl.load(strength + 3 * image + 2)
    there = cloud + image.to(tl.int64) * side * side + place // width * side + place % width
    fog = tl.load(there, mask=inside, other=0.0) * scale - low
    at = image.to(tl.int64) * 3 * size + place
    for channel in tl.static_range(3):
        x = tl.load(pixels + at + channel * size, mask=inside, other=0).to(tl.float32) * fade + fog
        tl.store(out + at + channel * size, truncated(x).to(tl.uint8), mask=inside)


def fog(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `fog.fog`."""
    amount, decay = parameters
    height, width = pixels.shape[2:]
    cloud = plasma(key, reference.map_side(height, width), decay)
    strength = torch.stack(reference._strengths(pixels, cloud, amount), 1)
    out, size = torch.empty_like(pixels), height * width
    veil[(triton.cdiv(size, BLOCK), len(pixels))](
        pixels, out, cloud, strength, cloud.shape[1], size, width, BLOCK=BLOCK, enable_fp_fusion=False
    )
    return out


def plasma(key: Key, side: int, decay: float) -> torch.Tensor:
    """As `fog.plasma` of the key's uniform field."""
    drawn, images = states(key), len(key.ids)
    coarse = min(reference._COARSE, side)
    seeds = torch.empty((images, coarse * coarse), dtype=torch.float32, device=drawn.device)
    sow[(images,)](seeds, drawn, side, coarse, BLOCK=64, enable_fp_fusion=False)
    grown = reference._coarse(seeds, decay)
    wibble = reference._WIBBLE / decay ** (coarse.bit_length() - 1)
    while (small := grown.shape[1]) < side:
        larger = torch.empty((images, 2 * small, 2 * small), dtype=torch.float32, device=drawn.device)
        refine[(triton.cdiv(small * small, BLOCK), images)](
            grown, larger, drawn, small, side // (2 * small), wibble**2, BLOCK=BLOCK, enable_fp_fusion=True
        )
        grown, wibble = larger, wibble / decay
    return grown
