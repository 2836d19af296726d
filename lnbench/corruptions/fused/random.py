"""The generator of `corruptions.rng` inside a kernel: the same words, made where they are used."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import rng

_GOLDEN = tl.constexpr(rng._GOLDEN)
_MIX_A = tl.constexpr(rng._MIX_A)
_MIX_B = tl.constexpr(rng._MIX_B)


@triton.jit
def fold(number):
    """The upper half of 64 bits onto the lower."""
    return number ^ ((number >> 32) & 0xFFFFFFFF)


@triton.jit
def two_words(place, first, second):
    """The hash that holds words 2·place and 2·place + 1 of an image with these two states; all int64."""
    number = place.to(tl.int64) + _GOLDEN
    number = fold(number * _MIX_A)
    number = fold(number * _MIX_B)
    number = fold(number * _MIX_A)
    number = fold((number ^ first) * second)
    number = fold(number * _MIX_A)
    return fold(number * _MIX_B)


@triton.jit
def level(place, first, second):
    """The 16-bit level number `place` of an image, as `rng.levels` has it: int32 in 0 … 65535."""
    number = two_words(place >> 2, first, second)
    half = (number >> ((place & 3) * 16).to(tl.int64)) & 0xFFFF
    return (half ^ 0x8000).to(tl.int32)
