"""JPEG there and back by Pillow itself: for large pictures on a CPU faster than that arithmetic in torch."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from lnbench.lazy import np, torch

# Pixels of a picture from which on Pillow is faster; many smaller ones are one call for torch.
LEAST = 112 * 112


def roundtrip(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    """What Pillow decodes after encoding at `quality`. Uint8 (B, 3, H, W) in and out, on the CPU.

    Pillow lets other threads run while it codes: a thread for each of torch's.
    """
    planes = pixels.contiguous().numpy()
    out = np.empty_like(planes)
    threads = min(torch.get_num_threads(), len(planes))

    def share(first: int) -> None:
        for number in range(first, len(planes), threads):
            _code(planes[number], quality, out[number])

    if threads > 1:
        list(_pool(torch.get_num_threads()).map(share, range(threads)))
    else:
        share(0)
    return torch.from_numpy(out)


def _code(planes: np.ndarray, quality: int, out: np.ndarray) -> None:
    """One picture, contiguous uint8 (3, H, W), into `out`: Pillow reads planes where they lie."""
    from PIL import Image

    height, width = planes.shape[1:]
    colors = [Image.frombuffer("L", (width, height), plane, "raw", "L", 0, 1) for plane in planes]
    with io.BytesIO() as file:
        Image.merge("RGB", colors).save(file, "JPEG", quality=quality)
        for plane, color in zip(out, Image.open(file, formats=("JPEG",)).split(), strict=True):
            plane[:] = color


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept: starting threads for every few pictures takes as long as a picture or two."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of these threads
