"""Fog: a cloud of plasma fractal noise, another for each image, laid over the picture."""

from __future__ import annotations

import math
from functools import lru_cache

from lnbench.corruptions.registry import corruption
from lnbench.corruptions.rng import Key, uniform
from lnbench.lazy import torch

_COARSE = 8  # side of the map made by one matrix product; finer levels are made one by one
_WIBBLE = 100.0  # the authors' first amplitude


@corruption(
    "fog",
    family="weather",
    parameters={"amount": (0, 100), "decay": (1, 100)},
    tables={
        "imagenet": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "tiny-imagenet": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        "cifar": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    reference="fog",
    elements=600_000,
)
def fog(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Lay fog over the picture, `parameters = (amount, decay)`. Uint8 (B, 3, H, W) in and out."""
    side = map_side(pixels.shape[2], pixels.shape[3])
    return fog_from_field(pixels, parameters, uniform(key, (side, side)).mul_(2).sub_(1))


def map_side(height: int, width: int) -> int:
    """Return the side of the plasma map: the power of two that covers the picture (224 px: 256)."""
    return 1 << (max(height, width) - 1).bit_length()


def fog_from_field(pixels: torch.Tensor, parameters: tuple[float, ...], field: torch.Tensor) -> torch.Tensor:
    """Lay over `pixels` the fog grown from `field`: uniform -1–1, float32 (B, S, S), S a power of two."""
    amount, decay = parameters
    height, width = pixels.shape[2:]
    cloud = plasma(field, decay)  # (B, S, S)
    fade, scale, low = _strengths(pixels, cloud, amount)
    # One operation after another: with two or three operands of which one is broadcast, CPUs go one by one.
    cloud = cloud[:, :height, :width].mul(scale[:, None, None]).sub_(low[:, None, None])
    image = pixels.to(torch.float32).mul_(fade[:, None, None, None]).add_(cloud[:, None])
    return image.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def _strengths(
    pixels: torch.Tensor, cloud: torch.Tensor, amount: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what multiplies each image's pixels and its cloud, and what is taken off that: (B,) each."""
    low, high = cloud.amin((1, 2)), cloud.amax((1, 2))
    brightest = pixels.flatten(1).amax(1).to(torch.float32)
    fade = brightest / (brightest + 255 * amount).clamp_min(1e-9)  # (B,)
    scale = 255 * amount * fade / (high - low)
    return fade, scale, low * scale


def plasma(field: torch.Tensor, decay: float) -> torch.Tensor:
    """Grow a periodic height map by the diamond-square algorithm: float32 (B, S, S) -> (B, S, S).

    Every point is the mean of four neighbors of the coarser levels plus its number in `field` times
    the level's amplitude. As in the authors' code the amplitude is the square of the wibble, which
    falls by `decay` from level to level.
    """
    side = field.shape[1]
    coarse = min(_COARSE, side)
    seeds = field[:, :: side // coarse, :: side // coarse].reshape(len(field), -1)
    grown = _coarse(seeds, decay)
    wibble = _WIBBLE / decay ** (coarse.bit_length() - 1)
    while grown.shape[1] < side:
        step = side // grown.shape[1]
        grown = _refine(grown, field[:, :: step // 2, :: step // 2], wibble**2)
        wibble /= decay
    return grown


def _refine(corners: torch.Tensor, field: torch.Tensor, amplitude: float) -> torch.Tensor:
    """Double the map: squares between four corners, then diamonds between corners and squares."""
    batch, side = corners.shape[:2]
    right = torch.cat((corners[:, :, 1:], corners[:, :, :1]), 2)
    across = corners + right  # sums of horizontal neighbors
    down = corners + torch.cat((corners[:, 1:], corners[:, :1]), 1)
    squares = across + torch.cat((across[:, 1:], across[:, :1]), 1)
    squares = torch.add(squares.mul_(0.25), field[:, 1::2, 1::2], alpha=amplitude)
    across.add_(squares).add_(torch.cat((squares[:, -1:], squares[:, :-1]), 1)).mul_(0.25)
    down.add_(squares).add_(torch.cat((squares[:, :, -1:], squares[:, :, :-1]), 2)).mul_(0.25)
    grown = corners.new_empty((batch, 2 * side, 2 * side))
    grown[:, ::2, ::2] = corners
    grown[:, 1::2, 1::2] = squares
    torch.add(across, field[:, ::2, 1::2], alpha=amplitude, out=grown[:, ::2, 1::2])
    torch.add(down, field[:, 1::2, ::2], alpha=amplitude, out=grown[:, 1::2, ::2])
    return grown


def _coarse(seeds: torch.Tensor, decay: float) -> torch.Tensor:
    """Return the map of the first levels (B, s, s) from the numbers at its points (B, s²)."""
    side = math.isqrt(seeds.shape[1])
    return (_coarse_matrix(side, decay, seeds.device) * seeds[:, None]).sum(2).view(-1, side, side)


@lru_cache(maxsize=16)
def _coarse_matrix(side: int, decay: float, device: torch.device) -> torch.Tensor:
    """Return what the first levels do, which is linear, as one matrix (1, side², side²)."""
    units = torch.eye(side * side, dtype=torch.float64).view(-1, side, side)
    grown, wibble = torch.zeros_like(units[:, :1, :1]), _WIBBLE  # the first corner is 0
    while grown.shape[1] < side:
        step = side // grown.shape[1]
        grown = _refine(grown, units[:, :: step // 2, :: step // 2], wibble**2)
        wibble /= decay
    return grown.flatten(1).T.to(torch.float32).contiguous().to(device)[None]
