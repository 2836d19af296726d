"""Blur along a line, another for each image, on planes of bytes; and motion blur, which is that alone."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import imageops
from lnbench.corruptions.fused.planes import bordered, truncated
from lnbench.corruptions.fused.random import uniforms
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

BLOCK = 512


@triton.jit
def smear(
    padded, out, offsets, weights, taps, size, width, plane, stride, first,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum of pixels at an image's offsets, weighted and rounded. `first`: of a plane's first pixel."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    source = padded + image.to(tl.int64) * CHANNELS * plane + first + place // width * stride + place % width
    total = (tl.zeros((BLOCK,), tl.float32),) * CHANNELS
    for tap in range(taps):
        there, weight = source + tl.load(offsets + image * taps + tap), tl.load(weights + tap)
        added = ()
        for channel in tl.static_range(CHANNELS):
            x = tl.load(there + channel * plane, mask=inside, other=0).to(tl.float32)
            added = added + (total[channel] + weight * x,)
        total = added
    at = out + image.to(tl.int64) * CHANNELS * size + place
    for channel in tl.static_range(CHANNELS):
        tl.store(at + channel * size, truncated(total[channel] + 0.5).to(tl.uint8), mask=inside)


def motion_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `blur.motion_blur`."""
    radius, sigma = parameters
    return along(pixels, radius, sigma, degrees(key, -45.0))


def degrees(key: Key, least: float) -> torch.Tensor:
    """Each image's angle within 90° from `least` on, of the key's stream `angle`: float32 (B,)."""
    return uniforms(key.stream("angle"), 1).view(-1).add_(1).mul_(0.5).mul_(90).add_(least)


def along(pixels: torch.Tensor, radius: float, sigma: float, angles: torch.Tensor) -> torch.Tensor:
    """As `imageops.motion_blur`, of uint8 (B, C, H, W), rounded to the nearest level."""
    (images, channels), (height, width) = pixels.shape[:2], pixels.shape[2:]
    weights = imageops._motion_weights(radius, sigma, pixels.device)
    padded = bordered(pixels, len(weights), "nearest")
    lines, stride = padded.words.shape[1], padded.words.shape[2] * 4
    offsets = imageops.motion_offsets(angles, len(weights), stride).to(torch.int32)
    out, size = torch.empty_like(pixels), height * width
    smear[(triton.cdiv(size, BLOCK), images)](
        padded.words.view(torch.uint8), out, offsets, weights, len(weights), size, width, lines * stride,
        stride, len(weights) * stride + 4 * padded.beside, CHANNELS=channels, BLOCK=BLOCK,
        enable_fp_fusion=True,
    )  # fmt: skip
    return out
