"""Native corruptions: batched, on whatever device the pixels are on."""

from __future__ import annotations

import torch

from lnbench.corruptions import (  # noqa: F401  importing a family registers its kernels
    blur,
    color,
    elastic,
    fog,
    frost,
    jpeg,
    noise,
    pixelate,
    snow,
    spatter,
)
from lnbench.corruptions.registry import GROUP, KERNELS, find
from lnbench.corruptions.rng import Key
from lnbench.corruptions.tables import MIN_SIDE, NAMES
from lnbench.errors import DataError
from lnbench.types import CLEAN_NAME


def available() -> tuple[str, ...]:
    """Names with a native kernel, in benchmark order."""
    return tuple(name for name in NAMES if name in KERNELS)


def corrupt(
    pixels: torch.Tensor, corruption: str, severity: float, key: Key, parameters: tuple[float, ...]
) -> torch.Tensor:
    """Corrupt a batch: uint8 (B, 3, H, W) -> uint8 (B, 3, H, W), on the device of `pixels`.

    What an image becomes depends on (key.seed, its id, corruption, severity, parameters) alone.
    `clean` returns the pixels themselves. Raises UsageError for an unknown name, DataError for
    images smaller than 32 pixels, ValueError for a wrong shape or dtype.
    """
    if corruption == CLEAN_NAME:
        return pixels
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"need uint8 (B, 3, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
    if not len(pixels):
        return pixels
    if min(pixels.shape[2:]) < MIN_SIDE:
        height, width = pixels.shape[2:]
        raise DataError(
            f"images of {height}×{width} pixels: corruptions need at least {MIN_SIDE} on each side"
        )
    pixels = pixels.contiguous()
    kernel = find(corruption)
    key = key.stream(corruption).stream(f"{severity:g}")
    group = GROUP[corruption]
    size = _group_size(pixels, group if isinstance(group, int) else group(parameters))
    if size >= len(pixels):
        return kernel(pixels, parameters, key)
    out = torch.empty_like(pixels, memory_format=torch.contiguous_format)
    for start in range(0, len(pixels), size):
        part = slice(start, start + size)
        out[part] = kernel(pixels[part], parameters, key[part])
    return out


def _group_size(pixels: torch.Tensor, elements: int) -> int:
    """Images to work on at once: all on an accelerator, as many as the caches hold on a CPU."""
    if pixels.device.type != "cpu":
        return len(pixels)
    return max(1, elements * torch.get_num_threads() // pixels[0].numel())
