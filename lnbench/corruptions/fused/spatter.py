"""Spatter: its random layer in one pass, and each step of the distances to its outlines."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import outline
from lnbench.corruptions import spatter as reference
from lnbench.corruptions.fused.random import normals
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

BLOCK = 512


@triton.jit
def start(edges, out, far, size, BLOCK: tl.constexpr):
    """No distance on an edge, `far` elsewhere: bytes, 0 where there is no edge, -> int16."""
    place = tl.program_id(1).to(tl.int64) * size + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK) < size
    edge = tl.load(edges + place, mask=inside, other=0)
    tl.store(out + place, tl.where(edge == 0, far, 0).to(tl.int16), mask=inside)


@triton.jit
def relax(field, out, y, x, cost, height, width, BLOCK: tl.constexpr):
    """The least of an int16 field and its copies moved by ±(y, x) plus `cost`, as `outline._relax`."""
    size = height * width
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    row, column = place // width, place % width
    at = field + tl.program_id(1).to(tl.int64) * size + place
    least = tl.load(at, mask=inside, other=0).to(tl.int32)
    ahead = inside & (row + y < height) & (column + x >= 0) & (column + x < width)
    behind = inside & (row >= y) & (column - x >= 0) & (column - x < width)
    step = y * width + x
    least = tl.minimum(least, tl.load(at + step, mask=ahead, other=32767).to(tl.int32) + cost)
    least = tl.minimum(least, tl.load(at - step, mask=behind, other=32767).to(tl.int32) + cost)
    at = out + tl.program_id(1).to(tl.int64) * size + place
    tl.store(at, least.to(tl.int16), mask=inside)


def spatter(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `spatter.spatter`."""
    height, width = pixels.shape[2:]
    field = normals(key, height * width).view(-1, height, width)
    return reference.spatter_from_field(pixels, parameters, field, distance)


def distance(edges: torch.Tensor) -> torch.Tensor:
    """As `outline.distance`."""
    images, height, width = edges.shape
    field = torch.empty(edges.shape, dtype=torch.int16, device=edges.device)
    other = torch.empty_like(field)
    grid = (triton.cdiv(height * width, BLOCK), images)
    far = outline.FAR * outline.UNIT
    start[grid](edges.contiguous(), field, far, height * width, BLOCK=BLOCK, enable_fp_fusion=False)
    for y, x, cost in outline.STEPS:
        relax[grid](field, other, y, x, cost, height, width, BLOCK=BLOCK, enable_fp_fusion=False)
        field, other = other, field
    return field
