"""Gaussian smoothing of random layers by matrix products: one cost for any sigma and any border.

A product of fixed size for each image, so that the sums do not depend on the batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

Border = Literal["nearest", "reflect"]
"""Beyond the border: the last pixel again, or the picture mirrored with its last pixel doubled."""


def smooth(layers: torch.Tensor, sigma: float, truncate: float, border: Border) -> torch.Tensor:
    """Filter like scipy.ndimage.gaussian_filter: float32 (B, H, W) -> (B, H, W)."""
    batch, height, width = layers.shape
    along_columns = _matrix(height, sigma, truncate, border, layers.device)
    along_rows = _matrix(width, sigma, truncate, border, layers.device).transpose(1, 2)
    rows = torch.bmm(layers, along_rows.expand(batch, -1, -1))
    return torch.bmm(along_columns.expand(batch, -1, -1), rows)


@lru_cache(maxsize=16)
def _matrix(size: int, sigma: float, truncate: float, border: Border, device: torch.device) -> torch.Tensor:
    """Return the filter as a matrix (1, size, size), borders folded in."""
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
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], sources), weights)
    return torch.from_numpy(matrix)[None].to(torch.float32).to(device)
