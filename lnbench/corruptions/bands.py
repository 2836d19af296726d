"""Products with matrices whose entries lie near the diagonal, as a few small dense products.

Every small product has the same shape whatever the batch, so a result's sum does not depend on it.
"""

from __future__ import annotations

from typing import NamedTuple

from lnbench.lazy import torch

WIDTH = 16
"""Outputs of one small product: what CPUs multiply best."""


class Bands(NamedTuple):
    """A matrix (inputs, 16·n) cut into n blocks (n, K, 16); block j takes inputs from `step`·j on."""

    step: int
    blocks: torch.Tensor


def cut(matrix: torch.Tensor) -> Bands:
    """Cut a matrix (inputs, 16·n) so that its blocks hold all that is not zero, and little more."""
    size, count = matrix.shape[0], matrix.shape[1] // WIDTH
    parts = matrix.view(size, count, WIDTH).transpose(0, 1)
    used = [part.any(1).nonzero().flatten().tolist() for part in parts]
    for step in range(size // count, -1, -1):
        reach = max(rows[-1] + 1 - step * band for band, rows in enumerate(used))
        fits = step * (count - 1) + reach <= size
        if fits and all(rows[0] >= step * band for band, rows in enumerate(used)):
            break
    return Bands(step, torch.stack([part[step * j : step * j + reach] for j, part in enumerate(parts)]))


def along_rows(image: torch.Tensor, bands: Bands) -> torch.Tensor:
    """Multiply contiguous rows from the right: (N, inputs) -> (N, n, 16), a view with bands outermost."""
    count, reach, _ = bands.blocks.shape
    windows = image.as_strided((count, len(image), reach), (bands.step, image.shape[1], 1))
    return torch.bmm(windows, bands.blocks).transpose(0, 1)
