"""Explicit randomness: counter-based random fields, one stream for each image.

Element i of an image's field is a hash of (seed, stream, image id, i) in 64-bit integer arithmetic,
which wraps the same way on every device: no state, so batch, order and device cannot matter.
Real-valued fields come from the integers through one exact scaling or one table, so they too are
the same numbers everywhere, down to the last bit.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

from lnbench.lazy import torch

# What a seed means. Another number for every change of a word: records hold it, and are compared by it.
GENERATOR = 2

# Odd multipliers with a balanced bit pattern: splitmix64 (Steele, Lea & Flood 2014).
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_A = 0xBF58476D1CE4E5B9 - 2**64
_MIX_B = 0x94D049BB133111EB - 2**64

_LEVELS = 1 << 16  # distinct values of a `normal` field


@dataclass(frozen=True)
class Key:
    """The randomness of a batch: `seed` and the image ids, int64 (B,), on the device of the pixels.

    Example:
        >>> import lnbench, torch
        >>> key = lnbench.Key(0, torch.arange(3))
        >>> key[1:].ids.tolist()  # what an image draws goes with its id, in whatever company
        [1, 2]
    """

    seed: int
    ids: torch.Tensor

    def stream(self, name: str | int) -> Key:
        """Return the key of an independent sub-stream of the same images."""
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        return Key(int.from_bytes(digest, "little", signed=True), self.ids)

    def __getitem__(self, part: slice) -> Key:
        """Return the key of a slice of the batch."""
        return Key(self.seed, self.ids[part])


def bits(key: Key, count: int) -> torch.Tensor:
    """Return `count` words of 32 random bits for each image: int32 (B, count).

    Words are made in twos, the halves of a hash of 64 bits: fewer would let places, or images, share words.
    """
    first, second = _states(key)
    twos = torch.bitwise_xor(_counters((count + 1) // 2, key.ids.device), first)  # (B, count / 2)
    for factor in (second, _MIX_A, _MIX_B):
        _fold(twos.mul_(factor))
    return twos.view(torch.int32)[:, :count]


def halves(key: Key, count: int) -> torch.Tensor:
    """Return `count` numbers of 16 random bits for each image: int16 (B, count), signed.

    Half the work of `bits`, and as fine as anything drawn into 8-bit pixels needs.
    """
    return bits(key, (count + 1) // 2).view(torch.int16)[:, :count]


def uniform(key: Key, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a uniform field, float32 (B, *shape), multiples of 2^-24 in [0, 1)."""
    words = bits(key, math.prod(shape))
    field = (words >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)
    return field.view(-1, *shape)


def normal(key: Key, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a standard normal field, float32 (B, *shape).

    The inverse distribution function at 65,536 equally likely levels: mean 0, variance 1, largest
    value 4.388 (a true normal lies beyond it, to either side, once in 87,000 draws).
    """
    index = levels(key, math.prod(shape))
    return torch.index_select(_quantiles(index.device), 0, index.view(-1)).view(-1, *shape)


def levels(key: Key, count: int) -> torch.Tensor:
    """Return the 16-bit levels that `normal` looks up: int32 (B, count) in [0, 65536)."""
    return halves(key, count).to(torch.int32).add_(_LEVELS // 2)


def integers(key: Key, low: int, high: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a field of integers in [low, high), int64 (B, *shape); bias below (high - low) / 2^32."""
    words = bits(key, math.prod(shape)).to(torch.int64).bitwise_and_(0xFFFFFFFF)
    return words.mul_(high - low).bitwise_right_shift_(32).add_(low).view(-1, *shape)


def normal_quantiles() -> torch.Tensor:
    """Return the 65,536 values of a `normal` field in ascending order, float64, on the CPU.

    Each is the mean of the standard normal over its share of the probability, all of them then
    scaled to unit variance.
    """
    edges = torch.special.ndtri(torch.linspace(0, 1, _LEVELS + 1, dtype=torch.float64))
    density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
    values = (density[:-1] - density[1:]) * _LEVELS
    values = (values - values.flip(0)) / 2
    return values / values.square().mean().sqrt()


@lru_cache(maxsize=8)
def _quantiles(device: torch.device) -> torch.Tensor:
    return normal_quantiles().to(torch.float32).to(device)


@lru_cache(maxsize=32)
def _counters(count: int, device: torch.device) -> torch.Tensor:
    """Hashed numbers of twos of words, int64 (1, count), all different: two rounds less in every field."""
    return _hash(torch.arange(count, dtype=torch.int64, device=device).view(1, -1))


def _states(key: Key) -> tuple[torch.Tensor, torch.Tensor]:
    """Two hashes for each image, int64 (B, 1) each, the second odd."""
    seed = _hash(torch.full((1, 1), key.seed, dtype=torch.int64, device=key.ids.device))
    first = _hash(key.ids.view(-1, 1) ^ seed)
    return first, _hash(first) | 1


def _hash(numbers: torch.Tensor) -> torch.Tensor:
    """A bijection of 64 bits; every bit of the input reaches every bit of the output. int64 (B, n)."""
    numbers = numbers.add(_GOLDEN)
    for factor in (_MIX_A, _MIX_B, _MIX_A):
        _fold(numbers.mul_(factor))
    return numbers


def _fold(numbers: torch.Tensor) -> torch.Tensor:
    """Put the upper half of int64 (B, n) onto the lower, in place: a product's lowest bits are its poorest.

    Through a view of the halves, one operation instead of a shift, a mask and an exclusive or.
    """
    halves = numbers.view(torch.int32)  # lower half first
    halves[:, 0::2].bitwise_xor_(halves[:, 1::2])
    return numbers
