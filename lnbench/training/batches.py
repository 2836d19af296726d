"""Training batches from uint8 images: shuffled, cropped, mirrored, normalized, all from (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lnbench.device import moved
from lnbench.types import InputNormalization


class Batches:
    """Batches of normalized pixels on the device, from uint8 images."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        normalization: InputNormalization,
        device: torch.device,
        layout: torch.memory_format,
    ) -> None:
        self.images, self.labels = images, labels  # may lie in a file: read batch by batch
        self.device, self.layout = device, layout
        self.mean = torch.tensor(normalization.mean, device=device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(normalization.std, device=device).view(1, 3, 1, 1) * 255

    def epoch(
        self, size: int, seed: int, epoch: int, *, flip: bool, pad: int, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of every whole batch of one shuffled epoch, flipped and cropped."""
        draws = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(len(self.images), generator=draws)
        for start in range(0, len(order) - size + 1, size):
            # Drawn for the whole batch in every process, so that their number changes nothing.
            down, right = torch.randint(0, 2 * pad + 1, (2, size), generator=draws)
            mirrored = (torch.rand(size, generator=draws) < 0.5) & flip
            part = slice(rank * size // world, (rank + 1) * size // world)
            images, targets = self._taken(order[start : start + size][part].numpy())
            x, y, flipped = (moved(one[part].numpy(), self.device) for one in (right, down, mirrored))
            yield self._normalized(_shifted(images, y, x, flipped, pad)), targets

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images as they are, in their order, `size` at a time."""
        for start in range(0, len(self.images), size):
            images, targets = self._taken(np.arange(start, min(start + size, len(self.images))))
            yield self._normalized(images), targets

    def _taken(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pixels uint8 (B, 3, H, W) and labels (B,), on the device."""
        return moved(self.images[chosen], self.device), moved(self.labels[chosen], self.device)

    def _normalized(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(torch.float32)
        return ((pixels - self.mean) / self.std).contiguous(memory_format=self.layout)  # (B, 3, H, W)


def _shifted(images: Tensor, down: Tensor, right: Tensor, flip: Tensor, pad: int) -> Tensor:
    """Crop each image (B, 3, H, W) at its own offsets (B,) from its zero-padded self, and mirror some."""
    height, width = images.shape[2:]
    count = partial(torch.arange, device=images.device)
    rows = down[:, None] + count(height)  # (B, H)
    columns = right[:, None] + count(width)  # (B, W)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    padded = F.pad(images, (pad, pad, pad, pad))
    batch, channel = count(len(images))[:, None, None, None], count(3)[None, :, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in one epoch."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> np.uint64(1))
