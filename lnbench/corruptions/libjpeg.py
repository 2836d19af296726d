"""JPEG there and back by Pillow itself: for large pictures on a CPU faster than that arithmetic in torch."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

from lnbench.lazy import np, torch

# Pixels of a picture from which on Pillow is faster; many smaller ones are one call for torch.
LEAST = 112 * 112


def roundtrip(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    """What Pillow decodes after encoding at `quality`. Uint8 (B, 3, H, W) in and out, on the CPU.

    Pillow lets other threads run while it codes: a thread for each of torch's.
    """
    planes = pixels.contiguous().numpy()
    out = np.empty_like(planes)

    def code(number: int) -> None:
        _code(planes[number], quality, out[number])

    threads = min(torch.get_num_threads(), len(planes))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(code, range(len(planes))))
    else:
        for number in range(len(planes)):
            code(number)
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
