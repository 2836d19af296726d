"""Gaussian smoothing of random layers by matrix products: any sigma and any border alike."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from lnbench.corruptions import bands

Border = Literal["nearest", "reflect"]
"""Beyond the border: the last pixel again, or the picture mirrored with its last pixel doubled."""


def smooth(layers: torch.Tensor, sigma: float, truncate: float, border: Border) -> torch.Tensor:
    """Filter like scipy.ndimage.gaussian_filter: (B, H, W) -> (B, H, W), contiguous, of the same dtype."""
    batch, height, width = layers.shape
    rows, columns = (
        _matrix(size, sigma, truncate, border, layers.device, layers.dtype) for size in (width, height)
    )
    if isinstance(rows, bands.Bands):
        layers = bands.along_rows(layers.view(-1, width), rows).flatten(1)[:, :width]
        layers = layers.view(batch, height, width)
    else:
        layers = torch.bmm(layers, rows.expand(batch, -1, -1))
    if isinstance(columns, bands.Bands):
        return bands.along_columns(layers, columns)[:, :height]
    return torch.bmm(columns.transpose(1, 2).expand(batch, -1, -1), layers)


@lru_cache(maxsize=32)
def _matrix(
    size: int, sigma: float, truncate: float, border: Border, device: torch.device, dtype: torch.dtype
) -> bands.Bands | torch.Tensor:
    """Return the filter for rows with borders folded in: in bands, or whole (1, size, size) if broad."""
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    weights /= weights.sum()
    sources = np.arange(size)[:, None] + offsets
    if border == "nearest":
        sources = sources.clip(0, size - 1)
    else:
        sources = sources % (2 * size)
        sources = np.minimum(sources, 2 * size - 1 - sources)
    matrix = np.zeros((size, -(-size // bands.WIDTH) * bands.WIDTH))
    np.add.at(matrix, (sources, np.arange(size)[:, None]), weights)
    whole = torch.from_numpy(matrix).to(dtype)
    if bands.WIDTH + 2 * radius > size // 2:
        return whole[None, :, :size].contiguous().to(device)
    step, blocks = bands.cut(whole)
    return bands.Bands(step, blocks.contiguous().to(device))
