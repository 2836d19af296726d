"""Zoom blur: all zooms of a column of pixels are added up in registers."""

from __future__ import annotations

import math
from functools import lru_cache

import triton
import triton.language as tl

from lnbench.corruptions import imageops
from lnbench.corruptions.fused.planes import truncated
from lnbench.corruptions.rng import Key
from lnbench.lazy import np, torch

BLOCK = 256
# Rows of one program: of the two rows of pixels between which a row lies, the next needs one again.
STRIP = 8


@triton.jit
def add_zooms(
    pixels, out, rows, columns, down, right, zooms, share, nudge, lanes, height, width,
    STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mean of the pixel, twice, and of itself at every zoom. `lanes`: columns of all images.

    `rows`, `columns`: the two sources of each output under each zoom, int32 (zooms, 2, H) and (zooms, 2, W);
    `down`, `right`: the share of the second, float32 (zooms, H) and (zooms, W).
    """
    lane, start = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1) * STRIP
    inside = lane < lanes
    image, column = (lane // width).to(tl.int64), lane % width
    size = height * width
    base = pixels + image * 3 * size
    total = ()
    for row in tl.static_range(STRIP):
        here = base + tl.minimum(start + row, height - 1) * width + column
        for channel in tl.static_range(3):
            x = tl.load(here + channel * size, mask=inside, other=0).to(tl.float32)
            total = total + (2.0 * x,)
    for zoom in range(zooms):
        left = base + tl.load(columns + (2 * zoom) * width + column, mask=inside, other=0)
        next_ = base + tl.load(columns + (2 * zoom + 1) * width + column, mask=inside, other=0)
        x = tl.load(right + zoom * width + column, mask=inside, other=0.0)
        source = tl.load(rows + (2 * zoom) * height + start)
        red, green, blue = across(left, next_, source * width, x, size, inside)
        red_under, green_under, blue_under = red, green, blue
        added = ()
        for row in tl.static_range(STRIP):
            place = tl.minimum(start + row, height - 1)
            under = tl.load(rows + (2 * zoom + 1) * height + place)
            y = tl.load(down + zoom * height + place)
            above = tl.load(rows + (2 * zoom) * height + place)
            on = above > source  # by one, as every zoom enlarges
            source = above
            red, green = tl.where(on, red_under, red), tl.where(on, green_under, green)
            blue = tl.where(on, blue_under, blue)
            red_under, green_under, blue_under = across(left, next_, under * width, x, size, inside)
            added = added + (
                total[3 * row] + (red + y * (red_under - red)),
                total[3 * row + 1] + (green + y * (green_under - green)),
                total[3 * row + 2] + (blue + y * (blue_under - blue)),
            )
        total = added
    for row in tl.static_range(STRIP):
        shown = inside & (lane + start + row < lane + height)
        at = out + image * 3 * size + (start + row) * width + column
        for channel in tl.static_range(3):
            level = truncated(total[3 * row + channel] * share + nudge)
            tl.store(at + channel * size, level.to(tl.uint8), mask=shown)


@triton.jit
def across(left, right, row, x, size, inside):
    """Between two pixels of a row, in each plane."""
    red = tl.load(left + row, mask=inside, other=0).to(tl.float32)
    green = tl.load(left + row + size, mask=inside, other=0).to(tl.float32)
    blue = tl.load(left + row + 2 * size, mask=inside, other=0).to(tl.float32)
    red += x * (tl.load(right + row, mask=inside, other=0).to(tl.float32) - red)
    green += x * (tl.load(right + row + size, mask=inside, other=0).to(tl.float32) - green)
    blue += x * (tl.load(right + row + 2 * size, mask=inside, other=0).to(tl.float32) - blue)
    return red, green, blue


def zoom_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `blur.zoom_blur`."""
    stop, step = parameters
    zooms = tuple(np.arange(1, stop, step).tolist())
    height, width = pixels.shape[2:]
    rows, down = _sources(zooms[1:], height, pixels.device)
    columns, right = _sources(zooms[1:], width, pixels.device)
    out = torch.empty_like(pixels)
    lanes = len(pixels) * width
    add_zooms[(triton.cdiv(lanes, BLOCK), triton.cdiv(height, STRIP))](
        pixels, out, rows, columns, down, right, len(zooms) - 1, 1 / (len(zooms) + 1), imageops.NUDGE,
        lanes, height, width, STRIP=STRIP, BLOCK=BLOCK, enable_fp_fusion=True,
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
