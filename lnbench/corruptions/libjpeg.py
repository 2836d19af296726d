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
    lines = pixels.transpose(1, 2).contiguous().numpy()  # (B, H, 3, W): the planes line by line
    out = np.empty_like(lines)

    def code(number: int) -> None:
        out[number] = _coded(lines[number], quality)

    threads = min(torch.get_num_threads(), len(lines))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(code, range(len(lines))))
    else:
        for number in range(len(lines)):
            code(number)
    return torch.from_numpy(out).transpose(1, 2).contiguous()


def _coded(lines: np.ndarray, quality: int) -> np.ndarray:
    """One picture, uint8 (H, 3, W) in and out."""
    from PIL import Image

    height, _, width = lines.shape
    picture = Image.frombuffer("RGB", (width, height), lines, "raw", "RGB;L", 0, 1)
    with io.BytesIO() as file:
        picture.save(file, "JPEG", quality=quality)
        decoded = Image.open(file)
        return np.frombuffer(decoded.tobytes("raw", "RGB;L"), np.uint8).reshape(lines.shape)
