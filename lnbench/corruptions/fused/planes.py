"""Planes with a border around them, four pixels to a word: what kernels that look around a pixel read."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from lnbench.corruptions.imageops import Border
from lnbench.lazy import torch

BLOCK = 512


class Bordered(NamedTuple):
    """Words int32 (planes, H + 2·margin, across + 2·beside): a row's first pixel begins word `beside`."""

    words: torch.Tensor
    across: int
    beside: int


@triton.jit
def surround(
    pixels, out, height, width, margin, left, lines, across, MIRROR: tl.constexpr, BLOCK: tl.constexpr
):
    """Extend one plane by `margin` rows and `left` columns, and pack it; `across`, `lines`: of the result."""
    plane = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < lines * across
    row = kept(place // across - margin, height, MIRROR) * width
    first = place % across * 4 - left
    source = pixels + plane * height * width + row
    word = tl.zeros((BLOCK,), tl.int32)
    for byte in tl.static_range(4):
        x = tl.load(source + kept(first + byte, width, MIRROR), mask=inside, other=0).to(tl.int32)
        word = word | (x << (8 * byte))
    tl.store(out + plane * lines * across + place, word, mask=inside)


@triton.jit
def kept(place, size, MIRROR: tl.constexpr):
    """The place along an axis that a place beyond its ends stands for."""
    if MIRROR:
        place = tl.abs(place)
        place = size - 1 - tl.abs(size - 1 - place)
    return tl.minimum(tl.maximum(place, 0), size - 1)


@triton.jit
def level(word, BYTE: tl.constexpr):
    """One of a word's four levels."""
    if BYTE == 3:
        word = (word >> 24) & 255
    elif BYTE:
        word = (word >> (8 * BYTE)) & 255
    else:
        word = word & 255
    return word.to(tl.float32)


@triton.jit
def truncated(number):
    return tl.minimum(tl.maximum(number, 0.0), 255.0).to(tl.int32)


def bordered(pixels: torch.Tensor, margin: int, border: Border) -> Bordered:
    """Uint8 (…, H, W) with a border of at least `margin` pixels."""
    height, width = pixels.shape[-2:]
    count, beside = pixels.numel() // (height * width), -(-margin // 4)
    across, lines = -(-width // 4), height + 2 * margin
    words = torch.empty((count, lines, across + 2 * beside), dtype=torch.int32, device=pixels.device)
    surround[(triton.cdiv(lines * words.shape[2], BLOCK), count)](
        pixels, words, height, width, margin, 4 * beside, lines, words.shape[2], MIRROR=border == "mirror",
        BLOCK=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    return Bordered(words, across, beside)
