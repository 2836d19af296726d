"""Frost: the ice of its crop, laid over the pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import frost as reference
from lnbench.corruptions.fused.planes import truncated
from lnbench.corruptions.fused.random import uniforms
from lnbench.corruptions.rng import Key
from lnbench.lazy import np, torch

BLOCK = 512


@triton.jit
def blend(pixels, out, ice, crops, weight, share, size, width, BLOCK: tl.constexpr):
    """Pixels times `weight` plus ice times `share`. `crops`: first pixel, width, size of a plane."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    start, wide, plane = (
        tl.load(crops + 3 * image),
        tl.load(crops + 3 * image + 1),
        tl.load(crops + 3 * image + 2),
    )
    crop = ice + start + place // width * wide + place % width
    at = image.to(tl.int64) * 3 * size + place
    for channel in tl.static_range(3):
        x = tl.load(pixels + at + channel * size, mask=inside, other=0).to(tl.float32) * weight
        frozen = tl.load(crop + channel * plane, mask=inside, other=0)
        x = plus(x, share, frozen)
        tl.store(out + at + channel * size, truncated(x).to(tl.uint8), mask=inside)


@triton.jit
def plus(x, share, y):
    """x + share · y rounded once, as torch adds with a factor, one of float32; float64 holds the product."""
    return (x.to(tl.float64) + share * y.to(tl.float64)).to(tl.float32)


def frost(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `frost.frost`."""
    weight, share = parameters
    height, width = pixels.shape[2:]
    ice, layout = reference._pictures(height, width, pixels.device)
    start, chosen = reference._corners(uniforms(key, 3).add_(1).mul_(0.5), layout, height, width)
    crops = torch.stack((start, chosen[:, 2], chosen[:, 3]), 1)
    out, size = torch.empty_like(pixels), height * width
    blend[(triton.cdiv(size, BLOCK), len(pixels))](
        pixels,
        out,
        ice,
        crops,
        weight,
        float(np.float32(share)),
        size,
        width,
        BLOCK=BLOCK,
        enable_fp_fusion=False,
    )
    return out
