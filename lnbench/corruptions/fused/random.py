"""The generator of `corruptions.rng` inside a kernel: the same words, made where they are used."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import rng
from lnbench.lazy import torch

BLOCK = 1024
_GOLDEN = tl.constexpr(rng._GOLDEN)
_MIX_A = tl.constexpr(rng._MIX_A)
_MIX_B = tl.constexpr(rng._MIX_B)


@triton.jit
def fold(number):
    """The upper half of 64 bits onto the lower."""
    return number ^ ((number >> 32) & 0xFFFFFFFF)


@triton.jit
def hashed(number):
    """A bijection of 64 bits, as `rng._hash`."""
    number = fold((number + _GOLDEN) * _MIX_A)
    return fold(fold(number * _MIX_B) * _MIX_A)


@triton.jit(do_not_specialize=["seed"])
def mix(ids, out, seed, count, BLOCK: tl.constexpr):
    """Two hashes for each image: int64 (B, 2)."""
    image = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = image < count
    first = hashed(tl.load(ids + image, mask=inside, other=0) ^ hashed(seed.to(tl.int64)))
    tl.store(out + 2 * image, first, mask=inside)
    tl.store(out + 2 * image + 1, hashed(first) | 1, mask=inside)


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


@triton.jit
def uniform(place, first, second):
    """Number `place` of an image's uniform field, as `rng.uniform` has it, from -1 to 1: float32."""
    number = two_words(place >> 1, first, second)
    word = (number >> ((place & 1) * 32).to(tl.int64)).to(tl.int32)
    return ((word >> 8) & 0xFFFFFF).to(tl.float32) * (2.0**-23) - 1.0


@triton.jit
def fill_uniform(out, states, size, BLOCK: tl.constexpr):
    """A uniform field from -1 to 1 for each image: float32 (B, size)."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    number = uniform(place, tl.load(states + 2 * image), tl.load(states + 2 * image + 1))
    tl.store(out + image.to(tl.int64) * size + place, number, mask=place < size)


@triton.jit
def fill_normal(out, states, quantiles, size, BLOCK: tl.constexpr):
    """A normal field for each image: float32 (B, size)."""
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    index = level(place, tl.load(states + 2 * image), tl.load(states + 2 * image + 1))
    tl.store(out + image.to(tl.int64) * size + place, tl.load(quantiles + index), mask=place < size)


def states(*keys: rng.Key) -> torch.Tensor:
    """Return what `rng._states` makes of each key, side by side, one key's images after another's: (…, 2)."""
    count = len(keys[0].ids)
    out = torch.empty((len(keys), count, 2), dtype=torch.int64, device=keys[0].ids.device)
    for key, part in zip(keys, out, strict=True):
        mix[(triton.cdiv(count, 128),)](key.ids, part, key.seed, count, BLOCK=128, enable_fp_fusion=False)
    return out.view(-1, 2)


def uniforms(key: rng.Key, size: int) -> torch.Tensor:
    """Return a uniform field from -1 to 1 for each image: float32 (B, size), twice `rng.uniform` less 1."""
    out = torch.empty((len(key.ids), size), dtype=torch.float32, device=key.ids.device)
    grid = (triton.cdiv(size, BLOCK), len(out))
    fill_uniform[grid](out, states(key), size, BLOCK=BLOCK, enable_fp_fusion=False)
    return out


def normals(key: rng.Key, size: int) -> torch.Tensor:
    """Return a normal field for each image: float32 (B, size), as `rng.normal`."""
    out = torch.empty((len(key.ids), size), dtype=torch.float32, device=key.ids.device)
    quantiles = rng._quantiles(out.device)
    grid = (triton.cdiv(size, BLOCK), len(out))
    fill_normal[grid](out, states(key), quantiles, size, BLOCK=BLOCK, enable_fp_fusion=False)
    return out
