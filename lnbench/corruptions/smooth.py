"""Gaussian smoothing of random layers by matrix products: any sigma and any border alike.

Every product has the same shape whatever the batch, so a result's sums do not depend on it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from lnbench.lazy import np, torch

Border = Literal["nearest", "reflect"]
"""Beyond the border: the last pixel again, or the picture mirrored with its last pixel doubled."""

_WIDTH = 16  # outputs of one small product: what CPUs multiply best


def smooth(layers: torch.Tensor, sigma: float, truncate: float, border: Border) -> torch.Tensor:
    """Filter like scipy.ndimage.gaussian_filter: contiguous (B, H, W) -> (B, H, W) of the same dtype."""
    batch, height, width = layers.shape
    reach = int(truncate * sigma + 0.5)
    if reach > min(height, width) // 2:  # so broad that whole rows and columns take part
        rows = _whole(width, sigma, reach, border, layers.device, layers.dtype)
        columns = _whole(height, sigma, reach, border, layers.device, layers.dtype).transpose(1, 2)
        return torch.bmm(columns.expand(batch, -1, -1), torch.bmm(layers, rows.expand(batch, -1, -1)))
    block = _block(sigma, reach, layers.device, layers.dtype)  # (1, 16 + 2·reach, 16)
    return _along_columns(_along_rows(layers, block, reach, border), block, reach, border)


def _along_rows(layers: torch.Tensor, block: torch.Tensor, reach: int, border: Border) -> torch.Tensor:
    """Filter rows, 16 outputs at a time: the same block for each, as the border is padded."""
    batch, height, width = layers.shape
    count = -(-width // _WIDTH)
    padded = _pad(layers, 2, reach, count * _WIDTH - width + reach, border)
    windows = padded.as_strided(
        (count, batch * height, block.shape[1]), (_WIDTH, padded.shape[2], 1)
    )  # overlapping
    out = torch.bmm(windows, block.expand(count, -1, -1)).transpose(0, 1).flatten(1)
    return out[:, :width].reshape(batch, height, width)


def _along_columns(layers: torch.Tensor, block: torch.Tensor, reach: int, border: Border) -> torch.Tensor:
    """Filter columns likewise. Images lie one under another, so some windows span two and are dropped."""
    batch, height, width = layers.shape
    used = -(-height // _WIDTH)
    count = -(-(used * _WIDTH + 2 * reach) // _WIDTH)  # windows from one image's top to the next's
    padded = _pad(layers, 1, reach, count * _WIDTH - height - reach, border)
    total = batch * count - (count - used)
    windows = padded.as_strided((total, block.shape[1], width), (_WIDTH * width, width, 1))
    out = layers.new_empty((batch * count, _WIDTH, width))
    torch.bmm(block.transpose(1, 2).expand(total, -1, -1), windows, out=out[:total])
    return out.view(batch, count * _WIDTH, width)[:, :height]


def _pad(layers: torch.Tensor, axis: int, before: int, after: int, border: Border) -> torch.Tensor:
    """Extend one axis. Beyond `before` values after the end the filter does not look."""
    size = layers.shape[axis]
    if border == "nearest":
        shape = [-1, -1, -1]
        shape[axis] = before
        first = layers.narrow(axis, 0, 1).expand(shape)
        shape[axis] = after
        return torch.cat((first, layers, layers.narrow(axis, size - 1, 1).expand(shape)), axis)
    first, last = (
        layers.narrow(axis, 0, before).flip(axis),
        layers.narrow(axis, size - before, before).flip(axis),
    )
    rest = layers.narrow(axis, 0, 1).expand([after - before if i == axis else -1 for i in range(3)])
    return torch.cat((first, layers, last, rest), axis)


def _weights(sigma: float, reach: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2) if reach else np.ones(1)
    return np.asarray(weights / weights.sum())


@lru_cache(maxsize=16)
def _block(sigma: float, reach: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return the filter's matrix for 16 neighboring outputs (1, 16 + 2·reach, 16)."""
    weights = _weights(sigma, reach)
    block = np.zeros((_WIDTH + 2 * reach, _WIDTH))
    for output in range(_WIDTH):
        block[output : output + len(weights), output] = weights
    return torch.from_numpy(block)[None].to(dtype).to(device)


@lru_cache(maxsize=16)
def _whole(
    size: int, sigma: float, reach: int, border: Border, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the filter's matrix for rows (1, size, size), borders folded in."""
    sources = np.arange(size)[:, None] + np.arange(-reach, reach + 1)
    if border == "nearest":
        sources = sources.clip(0, size - 1)
    else:
        sources = sources % (2 * size)
        sources = np.minimum(sources, 2 * size - 1 - sources)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (sources, np.arange(size)[:, None]), _weights(sigma, reach))
    return torch.from_numpy(matrix)[None].to(dtype).to(device)
