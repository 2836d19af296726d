"""Chunks re-cut into batches of exactly the size asked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Rebatch:
    """Tensors of one length (pixels, labels, positions), kept until a batch is complete."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images = 0
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, *tensors: Tensor) -> None:
        """Take some more."""
        self._parts.append(tensors)
        self.images += len(tensors[0])

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """Every complete batch, in order; what is left is kept."""
        while self.images >= self.size:
            whole = [torch.cat(column) for column in zip(*self._parts, strict=True)]
            rest = tuple(column[self.size :] for column in whole)
            self._parts = [rest] if len(rest[0]) else []
            self.images -= self.size
            yield tuple(column[: self.size] for column in whole)

    def rest(self) -> tuple[Tensor, ...]:
        """What is left, as one short batch."""
        whole = tuple(torch.cat(column) for column in zip(*self._parts, strict=True))
        self._parts, self.images = [], 0
        return whole
