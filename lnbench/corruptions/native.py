"""Native corruptions: batched, on whatever device the pixels are on."""

from __future__ import annotations

import torch

from lnbench.corruptions import blur, color, jpeg, noise  # noqa: F401  importing a family registers its kernels
from lnbench.corruptions.registry import KERNELS, find
from lnbench.corruptions.rng import Key
from lnbench.corruptions.tables import MIN_SIDE, NAMES
from lnbench.errors import DataError
from lnbench.types import CLEAN_NAME

# Elements a group of images may have on a CPU for its intermediate float planes to stay in the
# second-level cache of one core; measured best between 2^16 and 2^18 on 1 MiB.
_GROUP_ELEMENTS = 160_000


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
    if min(pixels.shape[2:]) < MIN_SIDE:
        height, width = pixels.shape[2:]
        raise DataError(
            f"images of {height}×{width} pixels: corruptions need at least {MIN_SIDE} on each side"
        )
    kernel = find(corruption)
    key = key.stream(corruption).stream(f"{severity:g}")
    size = _group_size(pixels)
    if size >= len(pixels):
        return kernel(pixels, parameters, key)
    out = torch.empty_like(pixels, memory_format=torch.contiguous_format)
    for start in range(0, len(pixels), size):
        part = slice(start, start + size)
        out[part] = kernel(pixels[part], parameters, key[part])
    return out


def _group_size(pixels: torch.Tensor) -> int:
    """Images to work on at once: all on an accelerator, as many as the cache holds on a CPU."""
    if pixels.device.type != "cpu":
        return len(pixels)
    return max(1, _GROUP_ELEMENTS * torch.get_num_threads() // pixels[0].numel()) if len(pixels) else 1
