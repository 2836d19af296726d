"""Zoom blur: all zooms of a pixel are added up in registers."""

from __future__ import annotations

import math
from functools import lru_cache

import triton
import triton.language as tl

from lnbench.corruptions import imageops
from lnbench.corruptions.rng import Key
from lnbench.lazy import np, torch

BLOCK = 256


@triton.jit
def add_zooms(
    pixels, out, rows, columns, down, right, zooms, share, nudge, height, width, BLOCK: tl.constexpr
):
    """Mean of the pixel, twice, and of itself at every zoom.

    `rows`, `columns`: the two sources of each output under each zoom, int32 (zooms, 2, H) and (zooms, 2, W);
    `down`, `right`: the share of the second, float32 (zooms, H) and (zooms, W).
    """
    row, image = tl.program_id(1), tl.program_id(2)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    size = height * width
    base = pixels + image.to(tl.int64) * 3 * size
    here = base + row * width + column
    red = 2.0 * tl.load(here, mask=inside, other=0).to(tl.float32)
    green = 2.0 * tl.load(here + size, mask=inside, other=0).to(tl.float32)
    blue = 2.0 * tl.load(here + 2 * size, mask=inside, other=0).to(tl.float32)
    for zoom in range(zooms):
        above = tl.load(rows + (2 * zoom) * height + row) * width
        below = tl.load(rows + (2 * zoom + 1) * height + row) * width
        left = tl.load(columns + (2 * zoom) * width + column, mask=inside, other=0)
        next_ = tl.load(columns + (2 * zoom + 1) * width + column, mask=inside, other=0)
        y = tl.load(down + zoom * height + row)
        x = tl.load(right + zoom * width + column, mask=inside, other=0.0)
        red += between(base, above, below, left, next_, y, x, inside)
        green += between(base + size, above, below, left, next_, y, x, inside)
        blue += between(base + 2 * size, above, below, left, next_, y, x, inside)
    at = out + image.to(tl.int64) * 3 * size + row * width + column
    tl.store(at, truncated(red * share + nudge), mask=inside)
    tl.store(at + size, truncated(green * share + nudge), mask=inside)
    tl.store(at + 2 * size, truncated(blue * share + nudge), mask=inside)


@triton.jit
def between(plane, above, below, left, right, y, x, inside):
    """Bilinear between four pixels of a plane."""
    a = tl.load(plane + above + left, mask=inside, other=0).to(tl.float32)
    b = tl.load(plane + above + right, mask=inside, other=0).to(tl.float32)
    c = tl.load(plane + below + left, mask=inside, other=0).to(tl.float32)
    d = tl.load(plane + below + right, mask=inside, other=0).to(tl.float32)
    return (1.0 - y) * ((1.0 - x) * a + x * b) + y * ((1.0 - x) * c + x * d)


@triton.jit
def truncated(level):
    return tl.minimum(tl.maximum(level, 0.0), 255.0).to(tl.int32).to(tl.uint8)


def zoom_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `blur.zoom_blur`."""
    stop, step = parameters
    zooms = tuple(np.arange(1, stop, step).tolist())
    height, width = pixels.shape[2:]
    rows, down = _sources(zooms[1:], height, pixels.device)
    columns, right = _sources(zooms[1:], width, pixels.device)
    out = torch.empty_like(pixels)
    add_zooms[(triton.cdiv(width, BLOCK), height, len(pixels))](
        pixels, out, rows, columns, down, right, len(zooms) - 1, 1 / (len(zooms) + 1), imageops.NUDGE,
        height, width, BLOCK=BLOCK, enable_fp_fusion=True,
    )  # fmt: skip
    return out


@lru_cache(maxsize=32)
def _sources(zooms: tuple[float, ...], size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Along one axis, as `imageops.clipped_zoom` and torch's interpolation find them."""
    places = np.empty((len(zooms), 2, size), np.int32)
    shares = np.empty((len(zooms), size), np.float32)
    for number, zoom in enumerate(zooms):
        crop = math.ceil(size / zoom)
        large = round(crop * zoom)
        start, trim = (size - crop) // 2, (large - size) // 2
        scale = np.float32(crop - 1) / np.float32(max(large - 1, 1))
        source = (np.arange(size, dtype=np.float32) + np.float32(trim)) * scale
        first = np.minimum(source.astype(np.int32), crop - 1)
        places[number] = start + first, start + np.minimum(first + 1, crop - 1)
        shares[number] = source - first
    return torch.from_numpy(places).to(device), torch.from_numpy(shares).to(device)
