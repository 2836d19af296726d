"""Images on their way to a GPU: from a store that lies there, or from the host, one chunk ahead.

A CPU takes them from the store itself, and nothing here is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lnbench.data.store import Pixels, Store
from lnbench.device import current, moved, one_kind_of_shortage
from lnbench.errors import UsageError, unknown
from lnbench.evaluate.prepare import Images
from lnbench.hashing import Indices

Wanted = Literal["auto", "device", "host", "file"]
WANTED: tuple[Wanted, ...] = ("auto", "device", "host", "file")


def parse(text: str) -> Wanted:
    """What `--store` asks for. Raises UsageError."""
    found = next((one for one in WANTED if one == text), None)
    if found is None:
        raise unknown("store", text, WANTED)
    return found


_STEP = 256  # images that cross at a time when the device is filled
_SHARE = 0.5  # of the device's free memory that images may take unasked: the rest is for computing


class OnDevice:
    """A store's images on the device, where they are picked: only positions cross."""

    place = "device"

    def __init__(self, images: Pixels, device: torch.device) -> None:
        self._device = device
        count = len(images)
        with one_kind_of_shortage():
            self._images = torch.empty((count, *images.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, count, _STEP):
            block = moved(images[np.arange(start, min(start + _STEP, count))], device)
            self._images[start : start + len(block)] = block

    def take(self, positions: Indices) -> Tensor:
        """The images at some positions: uint8 (B, 3, H, W) on the device."""
        return self._images.index_select(0, moved(positions, self._device))

    def expect(self, positions: Indices) -> None:
        """Nothing to prepare."""


class Ahead:
    """A store's images from the host: those asked for next are gathered meanwhile, into pinned memory.

    A thread reads and copies while the device computes; what it gathered crosses without waiting. torch
    gives a pinned buffer to nobody before its copy is through, so that two or three of them take turns.
    """

    place = "host"

    def __init__(self, images: Pixels, device: torch.device) -> None:
        self._images, self._device = images, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lnbench-ahead")
        self._next: tuple[Indices, Tensor, Future[None]] | None = None

    def take(self, positions: Indices) -> Tensor:
        """The images at some positions: uint8 (B, 3, H, W) on the device."""
        if self._next is None or not np.array_equal(self._next[0], positions):
            return moved(self._images[positions], self._device)
        _, pinned, future = self._next
        self._next = None
        future.result()
        return pinned.to(self._device, non_blocking=True)

    def expect(self, positions: Indices) -> None:
        """Begin to gather the images at positions that will probably be asked for next."""
        if not len(positions) or (self._next is not None and np.array_equal(self._next[0], positions)):
            return
        with current(self._device):
            shape = (len(positions), *self._images.shape[1:])
            pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        future = self._thread.submit(self._gather, positions, pinned.numpy())
        self._next = positions, pinned, future

    def _gather(self, positions: Indices, target: Pixels) -> None:
        if type(self._images) is np.ndarray:
            # clip: without a buffer of its own between; positions lie within the store.
            np.take(self._images, positions, axis=0, out=target, mode="clip")
        else:
            target[:] = self._images[positions]


def placed(images: Images, device: torch.device, wanted: Wanted, sharing: int) -> Images:
    """The images with a supply for a GPU: on it where `wanted` and where they fit, else from the host.

    `sharing`: processes on one GPU. Sets that are stored corrupted come from the host: each is used once.
    Raises UsageError where `device` is wanted and memory does not suffice.
    """
    if device.type != "cuda":
        return images
    stores = [] if images.precomputed else [images.clean, *images.shifts.values()]
    found: dict[int, Store] = {}
    for store in stores:
        found.setdefault(id(store), replace(store, supply=_supply(store, device, wanted, sharing)))
    shifts: Mapping[str, Store] = {name: found[id(store)] for name, store in images.shifts.items() if found}
    of = images.of

    def settled(condition: object) -> Store:
        store = of(condition)  # type: ignore[arg-type]
        return found.get(id(store)) or replace(store, supply=Ahead(store.images, device))

    clean = found.get(id(images.clean), images.clean)
    return replace(images, clean=clean, of=settled, shifts=shifts or images.shifts)


def _supply(store: Store, device: torch.device, wanted: Wanted, sharing: int) -> OnDevice | Ahead:
    if wanted in ("host", "file"):
        return Ahead(store.images, device)
    size = len(store.labels) * int(np.prod(store.images.shape[1:]))
    free = torch.cuda.mem_get_info(device)[0] / sharing
    if size <= (1 if wanted == "device" else _SHARE) * free:
        with contextlib.suppress(torch.OutOfMemoryError):
            return OnDevice(store.images, device)
    if wanted == "device":
        raise UsageError(
            f"--store device: {size / 2**30:.2f} GiB of images, and "
            f"{free / 2**30:.2f} GiB are free on {device}; use --store host"
        )
    return Ahead(store.images, device)
