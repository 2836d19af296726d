"""Snow: the layer of flakes, blown by `motion`, and its blend with the pixels."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import snow as reference
from lnbench.corruptions.fused.frost import plus
from lnbench.corruptions.fused.motion import along, degrees
from lnbench.corruptions.fused.planes import truncated
from lnbench.corruptions.fused.random import normals
from lnbench.corruptions.rng import Key
from lnbench.lazy import np, torch

BLOCK = 512
# Twice the green weights of luma and so on, as `snow_from_field` writes them, rounded to float32.
_LUMA = (0.299 * 1.5, 0.587 * 1.5, 0.114 * 1.5)


@triton.jit
def flakes(
    field, out, rows, lower, columns, right, tall, wide, mean, scale, threshold, size, width,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Enlarge a normal field (B, tall, wide), keep what exceeds `threshold`, in 8 bits.

    `rows`, `columns`: the first source of each output; `lower`, `right`: the share of the one after it.
    """
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    row, column = place // width, place % width
    top, left = tl.load(rows + row, mask=inside, other=0), tl.load(columns + column, mask=inside, other=0)
    y, x = tl.load(lower + row, mask=inside, other=0.0), tl.load(right + column, mask=inside, other=0.0)
    after = tl.minimum(left + 1, wide - 1)
    first = field + image * tall * wide + top * wide
    second = field + image * tall * wide + tl.minimum(top + 1, tall - 1) * wide
    above = (1.0 - x) * tl.load(first + left, mask=inside, other=0.0)
    above += x * tl.load(first + after, mask=inside, other=0.0)
    below = (1.0 - x) * tl.load(second + left, mask=inside, other=0.0)
    below += x * tl.load(second + after, mask=inside, other=0.0)
    between = tl.where(y < 0.5, above + y * (below - above), below - (below - above) * (1.0 - y))
    layer = between * scale + mean
    layer = tl.where(layer > threshold, layer, 0.0)
    layer = tl.minimum(tl.maximum(layer, 0.0), 1.0) * 255.0
    tl.store(out + image * size + place, layer.to(tl.int32).to(tl.uint8), mask=inside)


@triton.jit
def settle(pixels, out, layer, red, green, blue, mix, rest, size, BLOCK: tl.constexpr):
    """Lay the layer, twice, the second time upside down, over pixels of which `rest` has turned white."""
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    snow = tl.load(layer + image * size + place, mask=inside, other=0).to(tl.int32)
    snow += tl.load(layer + image * size + size - 1 - place, mask=inside, other=0).to(tl.int32)
    fallen = snow.to(tl.float32)
    at = image * 3 * size + place
    first = tl.load(pixels + at, mask=inside, other=0).to(tl.float32)
    second = tl.load(pixels + at + size, mask=inside, other=0).to(tl.float32)
    third = tl.load(pixels + at + 2 * size, mask=inside, other=0).to(tl.float32)
    white = plus(plus(first * red, green, second), blue, third) + 127.5
    tl.store(out + at, snowed(first, white, fallen, mix, rest), mask=inside)
    tl.store(out + at + size, snowed(second, white, fallen, mix, rest), mask=inside)
    tl.store(out + at + 2 * size, snowed(third, white, fallen, mix, rest), mask=inside)


@triton.jit
def snowed(plane, white, fallen, mix, rest):
    return truncated(plane * mix + (tl.maximum(plane, white) * rest + fallen)).to(tl.uint8)


def snow(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `snow.snow`."""
    mean, scale, zoom, threshold, radius, sigma, mix = parameters
    images, (height, width), size = len(pixels), pixels.shape[2:], pixels[0, 0].numel()
    tall, wide = reference.field_shape(height, width, zoom)
    field = normals(key.stream("layer"), tall * wide)
    rows, _, lower = reference._places(tall, height, zoom, pixels.device)
    columns, _, right = reference._places(wide, width, zoom, pixels.device)
    layer = torch.empty((images, 1, height, width), dtype=torch.uint8, device=pixels.device)
    grid = (triton.cdiv(size, BLOCK), images)
    flakes[grid](
        field, layer, rows, lower, columns, right, tall, wide, mean, scale, threshold, size, width,
        BLOCK=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    layer = along(layer, radius, sigma, degrees(key, -135.0))
    out = torch.empty_like(pixels)
    luma = (float(np.float32(weight)) for weight in _LUMA)
    settle[grid](
        pixels, out, layer, *luma, mix, 1 - mix, size, BLOCK=BLOCK, enable_fp_fusion=False
    )  # fmt: skip
    return out
