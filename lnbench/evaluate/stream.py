"""The images of one condition on their way to the network: in the run's order, on the device, corrupted.

What an image gets depends on (seed, image id, corruption, severity) alone, so pixels asked for twice are
the same pixels, in whatever company.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lnbench.corruptions import native, reference
from lnbench.corruptions.rng import Key
from lnbench.data import order as orders
from lnbench.data.batches import drawn, shuffled
from lnbench.data.store import Store
from lnbench.device import moved
from lnbench.suite import Suite
from lnbench.types import CLEAN, Condition

# Pixels of a chunk: enough to fill a GPU. On a CPU, enough that what a layer costs beside its arithmetic
# does not show, and no more (docs/speed.md).
_CHUNK_PIXELS = {"cpu": 16 * 224 * 224, "cuda": 256 * 224 * 224}
_CHUNK_LIMITS = {"cpu": (4, 64), "cuda": (32, 2048)}


def chunk_size(device: torch.device, height: int, width: int) -> int:
    """Images in a chunk; a function of the device and the image size alone, never of the batch size."""
    least, most = _CHUNK_LIMITS[device.type]
    return max(least, min(most, _CHUNK_PIXELS[device.type] // (height * width)))


class Stream:
    """One store under one condition, cut into chunks along the order of the suite.

    Positions are int64 indices into the store; `shuffled` are all of them in a seeded shuffle, whatever the
    order, for what is to be a sample of the condition. `corrupted` says that the store holds this condition
    already (a precomputed set), so that its pixels pass as they are.
    """

    def __init__(
        self,
        store: Store,
        condition: Condition,
        suite: Suite,
        device: torch.device,
        *,
        seed: int,
        corrupted: bool,
    ) -> None:
        self.store, self.condition, self.device = store, condition, device
        self.suite, self.seed = suite, seed
        self.order = orders.arrange(orders.parse(suite.order), store.labels, seed)
        self.shuffled = shuffled(len(store.labels), seed)
        self.chunk = chunk_size(device, *store.images.shape[2:])
        self._untouched = corrupted or not condition.is_corrupted
        self._parameters = () if self._untouched else suite.parameters_of(condition)

    def chunks(self) -> Iterator[np.ndarray]:
        """Positions of all images along the order, a chunk at a time."""
        return self._cut(self.order)

    def fillers(self, count: int) -> Iterator[np.ndarray]:
        """Positions of the first `count` images of the order, a chunk at a time."""
        return self._cut(self.order[:count])

    def drawn(self, count: int, number: int) -> np.ndarray:
        """Positions of `count` images, none twice: draw `number` of this condition."""
        return drawn(len(self.order), count, self.seed, self.condition, number)

    def uncorrupted(self, store: Store | None = None) -> Stream:
        """The same images, or those of another store, without corruption; they must not be stored with it."""
        return Stream(store or self.store, CLEAN, self.suite, self.device, seed=self.seed, corrupted=False)

    def pixels(self, positions: np.ndarray) -> Tensor:
        """The images at `positions` under the condition: uint8 (B, 3, H, W) on the device."""
        if self._untouched:
            return self._stored(positions)
        ids = self.store.ids[positions]
        if self.suite.backend == "reference":
            pictures = self.store.images[positions].transpose(0, 2, 3, 1)
            corrupted = reference.corrupt(
                pictures, self.condition.corruption, int(self.condition.severity), self.seed, ids
            )
            pixels = self._to_device(np.ascontiguousarray(corrupted.transpose(0, 3, 1, 2)))
        else:
            key = Key(self.seed, self._to_device(ids))
            pixels = native.corrupt(
                self._stored(positions),
                self.condition.corruption,
                self.condition.severity,
                key,
                self._parameters,
            )
        return self._recompressed(pixels)

    def labels(self, positions: np.ndarray) -> Tensor:
        """int64 (B,) on the device."""
        return self._to_device(self.store.labels[positions])

    def indices(self, positions: np.ndarray) -> Tensor:
        """The positions themselves: int64 (B,) on the device."""
        return self._to_device(positions)

    def expect(self, start: int) -> None:
        """Let the chunk at `start` of the order be gathered meanwhile; behind the last, the first again."""
        if self.store.supply is not None:
            start = start if start < len(self.order) else 0
            self.store.supply.expect(self.order[start : start + self.chunk])

    def _stored(self, positions: np.ndarray) -> Tensor:
        """The images as they are stored, on the device."""
        if self.store.supply is not None:
            return self.store.supply.take(positions)
        return self._to_device(self.store.images[positions])

    def _cut(self, order: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(order), self.chunk):
            yield order[start : start + self.chunk]

    def _recompressed(self, pixels: Tensor) -> Tensor:
        """The JPEG round trip of the stored ImageNet-C files, where the preset asks for it."""
        if self.suite.jpeg_roundtrip is None:
            return pixels
        key = Key(0, torch.zeros(len(pixels), dtype=torch.int64, device=self.device))
        return native.corrupt(pixels, "jpeg_compression", 1, key, (float(self.suite.jpeg_roundtrip),))

    def _to_device(self, array: np.ndarray) -> Tensor:
        return moved(array, self.device)
