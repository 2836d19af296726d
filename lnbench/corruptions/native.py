"""Native corruptions: batched, on whatever device the pixels are on."""

from __future__ import annotations

from lnbench.corruptions import fused
from lnbench.corruptions.registry import MIN_SIDE, find
from lnbench.corruptions.rng import Key
from lnbench.errors import DataError
from lnbench.lazy import torch
from lnbench.types import CLEAN_NAME


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
    known = find(corruption)
    key = key.stream(corruption).stream(f"{severity:g}")
    elements = known.elements if isinstance(known.elements, int) else known.elements(parameters)
    if pixels.is_cuda:
        return fused.corrupted(corruption, known.kernel, pixels, parameters, key)
    size = _images_at_once(pixels, elements)
    if size >= len(pixels):
        return known.kernel(pixels, parameters, key)
    out = torch.empty_like(pixels, memory_format=torch.contiguous_format)
    for start in range(0, len(pixels), size):
        part = slice(start, start + size)
        out[part] = known.kernel(pixels[part], parameters, key[part])
    return out


def _images_at_once(pixels: torch.Tensor, elements: int) -> int:
    """All on an accelerator, as many as the caches hold on a CPU."""
    if pixels.device.type != "cpu":
        return len(pixels)
    return max(1, elements * torch.get_num_threads() // pixels[0].numel())
