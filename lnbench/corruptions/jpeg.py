"""JPEG compression: what Pillow's encoder and decoder do to the pixels, to the bit, without the file.

Pillow saves RGB with libjpeg's defaults: 4:2:0 chroma, the tables of ITU T.81 annex K scaled by the
quality, the "islow" integer transforms; and reads it back with triangle ("fancy") chroma upsampling.
Entropy coding loses nothing, so it is left out. The rest is integer arithmetic, done here in float32,
which is exact on integers below 2^24 whatever the order of summation, so every device agrees. Where
sums grow larger, the transform's matrix is split into a high and a low part.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional

from lnbench.corruptions.registry import register
from lnbench.corruptions.rng import Key

# ITU T.81, tables K.1 (luminance) and K.2 (chrominance), row by row.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)

# The 8-point transform of libjpeg's jfdctint.c, its butterfly multiplied out, times 2^13. Even rows
# act on x[i] + x[7-i], odd rows on x[i] - x[7-i], i = 0..3. Not quite rounded cosines: the butterfly's
# own constants are rounded, hence 10703 beside 10704. The inverse (jidctint.c) is the transpose.
_EVEN = (
    (8192, 8192, 8192, 8192),
    (10703, 4433, -4433, -10703),
    (8192, -8192, -8192, 8192),
    (4433, -10704, 10704, -4433),
)
_ODD = (
    (11363, 9633, 6437, 2260),
    (9633, -2259, -11362, -6436),
    (6437, -11362, 2261, 9633),
    (2260, -6436, 9633, -11363),
)


@register("jpeg_compression")
def jpeg_compression(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Compress at quality `parameters[0]`, 1–100, and read back. Uint8 (B, 3, H, W) in and out."""
    return roundtrip(pixels, int(parameters[0]))


def roundtrip(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    """Return what Pillow decodes after encoding at `quality`. Uint8 (B, 3, H, W) in and out."""
    height, width = pixels.shape[2:]
    canvas = _code(_planes(pixels), quality)  # (B, 3H/2, W)
    rows, columns = canvas.shape[1] * 2 // 3, canvas.shape[2]
    chroma = canvas[:, rows:].view(len(canvas), -1, 2, columns // 2).transpose(1, 2)
    chroma = chroma[:, :, : (height + 1) // 2, : (width + 1) // 2]  # (B, 2, H/2, W/2)
    return _to_rgb(canvas[:, :height, :width], _upsample(chroma)[..., :height, :width])


def _planes(pixels: torch.Tensor) -> torch.Tensor:
    """Return the planes to transform, less 128, as one canvas: float32 (B, 3H/2, W).

    Luma lies on top, the two halved chroma planes side by side below it. H and W are rounded up to
    multiples of 16. As libjpeg does, the last full-size column is repeated, but the last chroma row.
    """
    height, width = pixels.shape[2:]
    rows, columns = -(-height // 16) * 16, -(-width // 16) * 16
    image = pixels.to(torch.float32)
    if columns != width or height % 2:
        image = functional.pad(image, (0, columns - width, 0, height % 2), mode="replicate")
    red, green, blue = image.unbind(1)
    filled = image.shape[2]
    canvas = image.new_empty((len(pixels), rows * 3 // 2, columns))
    luma = canvas[:, :filled]
    chroma = canvas[:, rows : rows + filled // 2].view(len(canvas), -1, 2, columns // 2)
    # jccolor.c: weights of 16 bits, every sum below 2^24; luma rounds half up, chroma half down.
    torch.mul(red, 19595 / 65536, out=luma)
    luma.add_(green, alpha=38470 / 65536).add_(blue, alpha=7471 / 65536).add_(0.5 - 128).floor_()
    full = image.new_empty((len(pixels), 2, filled, columns))
    torch.add(blue.mul(0.5), green, alpha=-21709 / 65536, out=full[:, 0])
    full[:, 0].add_(red, alpha=-11059 / 65536)
    torch.add(red.mul(0.5), green, alpha=-27439 / 65536, out=full[:, 1])
    full[:, 1].add_(blue, alpha=-5329 / 65536)
    full.add_(32767 / 65536).floor_()
    # jcsample.c: the mean of four, rounded with 1/4 and 1/2 in turn along the row.
    pairs = full[:, :, ::2] + full[:, :, 1::2]
    halved = torch.add(pairs[..., ::2], pairs[..., 1::2]).mul_(0.25).add_(_dither(columns // 2, image.device))
    chroma.copy_(halved.floor_().transpose(1, 2))
    if filled < rows:
        canvas[:, filled:rows] = canvas[:, filled - 1 : filled]
        canvas[:, rows + filled // 2 :] = canvas[:, rows + filled // 2 - 1 : rows + filled // 2]
    return canvas


def _code(canvas: torch.Tensor, quality: int) -> torch.Tensor:
    """Transform 8×8 blocks, quantize, and transform back. Integers in float32 (B, 3H/2, W)."""
    shape, device = canvas.shape, canvas.device
    forward, split, inverse, inverse_split = _matrices(device)
    step, reciprocal = _steps(quality, *shape[1:], device)
    blocks = torch.mm(canvas.view(-1, 16), forward).add_(0.5).floor_().view(-1, 8, shape[2])
    sums = torch.matmul(split, blocks)  # (B·3H/16, 16, W): high parts, low parts
    coefficients = sums[:, :8].add_(sums[:, 8:].floor_(), alpha=2.0**-8).add_(0.5).floor_()
    coefficients = coefficients.reshape(shape).mul_(reciprocal).round_().mul_(step)
    blocks = torch.matmul(inverse, coefficients.view(-1, 8, shape[2])).add_(0.5).floor_()
    sums = torch.mm(blocks.view(-1, 16), inverse_split)  # (·, 32)
    return (
        sums[:, :16]
        .add(sums[:, 16:].floor_(), alpha=2.0**-11)
        .add_(0.5)
        .floor_()
        .clamp_(-128, 127)
        .view(shape)
    )


def _upsample(chroma: torch.Tensor) -> torch.Tensor:
    """Double both sides with libjpeg's triangle filter (jdsample.c): float32 (B, 2, h, w) -> (B, 2, 2h, 2w).

    Weights 9, 3, 3, 1 of 16, edges repeated; left columns round with 8/16, right ones with 7/16.
    """
    above = torch.cat((chroma[:, :, :1], chroma[:, :, :-1]), 2)
    below = torch.cat((chroma[:, :, 1:], chroma[:, :, -1:]), 2)
    sums = torch.stack((above, below), 3).add_(chroma.unsqueeze(3), alpha=3).flatten(2, 3)  # (B, 2, 2h, w)
    left = torch.cat((sums[..., :1], sums[..., :-1]), 3).add_(sums, alpha=3).add_(8).mul_(1 / 16).floor_()
    right = torch.cat((sums[..., 1:], sums[..., -1:]), 3).add_(sums, alpha=3).add_(7).mul_(1 / 16).floor_()
    return torch.stack((left, right), 4).flatten(3, 4)


def _to_rgb(luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """Convert planes less 128 to pixels as jdcolor.c does: float32 (B, H, W), (B, 2, H, W) -> uint8."""
    blue, red = chroma.unbind(1)
    light = luma + 128
    out = luma.new_empty((len(luma), 3, *luma.shape[1:]))
    torch.add(light, (red * (91881 / 65536)).add_(0.5).floor_(), out=out[:, 0])
    green = (blue * (-22554 / 65536)).add_(red, alpha=-46802 / 65536).add_(0.5).floor_()
    torch.add(light, green, out=out[:, 1])
    torch.add(light, (blue * (116130 / 65536)).add_(0.5).floor_(), out=out[:, 2])
    return out.clamp_(0, 255).to(torch.int16).to(torch.uint8)


@lru_cache(maxsize=8)
def _dither(width: int, device: torch.device) -> torch.Tensor:
    return torch.tensor([0.25, 0.5]).repeat(-(-width // 2))[:width].to(device)


@lru_cache(maxsize=8)
def _matrices(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Forward along rows, forward along columns split, inverse along columns, inverse along rows split.

    Scaled so that the results need only rounding: libjpeg keeps two more bits after the first pass.
    """
    even, odd = torch.tensor(_EVEN, dtype=torch.float64), torch.tensor(_ODD, dtype=torch.float64)
    matrix = torch.empty((8, 8), dtype=torch.float64)
    matrix[0::2] = torch.cat((even, even.flip(1)), 1)
    matrix[1::2] = torch.cat((odd, -odd.flip(1)), 1)
    high = torch.round(matrix / 128)
    low = matrix - 128 * high
    pair = torch.eye(2, dtype=torch.float64)
    forward = torch.kron(pair, matrix.T.contiguous() / 2**11)
    split = torch.cat((high / 2**8, low / 2**7))
    inverse = matrix.T / 2**11
    inverse_split = torch.cat((torch.kron(pair, high / 2**11), torch.kron(pair, low / 2**7)), 1)
    return tuple(
        m.to(torch.float32).contiguous().to(device) for m in (forward, split, inverse, inverse_split)
    )


@lru_cache(maxsize=16)
def _steps(quality: int, rows: int, columns: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantizer steps laid out over the canvas, and factors that divide by 8 steps."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = [
        (torch.tensor(t) * percent + 50).div(100, rounding_mode="floor").clamp(1, 255)
        for t in (_LUMINANCE, _CHROMINANCE)
    ]
    luma, chroma = tables[0].repeat(rows // 12, columns // 8), tables[1].repeat(rows // 24, columns // 8)
    step = torch.cat((luma, chroma)).to(torch.float32)
    # libjpeg rounds halves away from zero, torch.round to even: a factor a little too large decides
    # halves rightly and nothing else, as coefficients are integers below 2^15.
    reciprocal = (1 + 2.0**-20) / (8 * step.double())
    return step.to(device), reciprocal.to(torch.float32).to(device)
