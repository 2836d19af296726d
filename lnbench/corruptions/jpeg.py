"""JPEG compression: what Pillow's encoder and decoder do to the pixels, to the bit, without the file.

Pillow saves RGB with libjpeg's defaults: 4:2:0 chroma, the tables of ITU T.81 annex K scaled by the
quality, the "islow" integer transforms; and reads it back with triangle ("fancy") chroma upsampling.
Entropy coding loses nothing, so it is left out. The rest is integer arithmetic, done here in float32,
which is exact on integers below 2^24 whatever the order of summation, so every device agrees. Where
sums grow larger, the transform's matrix is split into a high and a low part. Large pictures on a CPU go
through Pillow itself, where its library was seen to make these pixels.
"""

from __future__ import annotations

from functools import lru_cache

from lnbench.corruptions import libjpeg
from lnbench.corruptions.registry import corruption, whole
from lnbench.corruptions.rng import Key
from lnbench.lazy import F, np, torch

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


@corruption(
    "jpeg_compression",
    family="digital",
    parameters={"quality": whole(1, 100)},
    tables={
        "imagenet": (25, 18, 15, 10, 7),
        "tiny-imagenet": (65, 58, 50, 40, 25),
        "cifar": (80, 65, 58, 50, 40),
    },
    reference="jpeg_compression",
    elements=600_000,
)
def jpeg_compression(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Compress at quality `parameters[0]`, 1–100, and read back. Uint8 (B, 3, H, W) in and out."""
    quality = int(parameters[0])
    large = pixels[0, 0].numel() >= libjpeg.LEAST
    if large and pixels.device.type == "cpu" and _pillow_serves(quality):
        return libjpeg.roundtrip(pixels, quality)
    return roundtrip(pixels, quality)


def roundtrip(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    """Return what Pillow decodes after encoding at `quality`. Uint8 (B, 3, H, W) in and out."""
    height, width = pixels.shape[2:]
    canvas = _code(_planes(pixels), quality)  # (B, 3H/2, W)
    rows, columns = canvas.shape[1] * 2 // 3, canvas.shape[2]
    chroma = canvas[:, rows:].view(len(canvas), -1, 2, columns // 2).transpose(1, 2)
    chroma = chroma[:, :, : (height + 1) // 2, : (width + 1) // 2].to(torch.int16)  # (B, 2, H/2, W/2)
    chroma = _upsample(chroma)[:, :, :, :height]
    luma = canvas[:, :height, : 2 * chroma.shape[4]]
    return _to_rgb(luma, chroma)[..., :width].contiguous()


def _planes(pixels: torch.Tensor) -> torch.Tensor:
    """Return the planes to transform, less 128, as one canvas: float32 (B, 3H/2, W).

    Luma lies on top, the two halved chroma planes side by side below it. H and W are rounded up to
    multiples of 16. As libjpeg does, the last full-size column is repeated, but the last chroma row.
    """
    height, width = pixels.shape[2:]
    rows, columns = -(-height // 16) * 16, -(-width // 16) * 16
    image = pixels.to(torch.float32)
    if columns != width or height % 2:
        image = F.pad(image, (0, columns - width, 0, height % 2), mode="replicate")
    red, green, blue = image.unbind(1)
    filled = image.shape[2]
    canvas = image.new_empty((len(pixels), rows * 3 // 2, columns))
    # jccolor.c: weights of 16 bits, every sum below 2^24; luma rounds half up, chroma half down.
    luma = torch.mul(red, 19595 / 65536, out=canvas[:, :filled])
    luma.add_(green, alpha=38470 / 65536).add_(blue, alpha=7471 / 65536).add_(0.5 - 128).floor_()
    chroma = canvas[:, rows : rows + filled // 2].view(len(canvas), -1, 2, columns // 2)
    chroma[:, :, 0] = _halve(torch.add(blue, green, alpha=-21709 / 32768).add_(red, alpha=-11059 / 32768))
    chroma[:, :, 1] = _halve(torch.add(red, green, alpha=-27439 / 32768).add_(blue, alpha=-5329 / 32768))
    if filled < rows:
        canvas[:, filled:rows] = canvas[:, filled - 1 : filled]
        canvas[:, rows + filled // 2 :] = canvas[:, rows + filled // 2 - 1 : rows + filled // 2]
    return canvas


def _halve(doubled: torch.Tensor) -> torch.Tensor:
    """Round twice a chroma plane to 8 bits, and average 2×2: float32 (B, H, W) -> int16, less 128.

    jcsample.c rounds the mean of four with 1/4 and 1/2 in turn along the row.
    """
    levels = doubled.add_(256 + 32767 / 32768).to(torch.int16).bitwise_right_shift_(1)  # 0–255
    pairs = levels[:, ::2] + levels[:, 1::2]
    total = torch.add(pairs[:, :, ::2], pairs[:, :, 1::2])
    return total.add_(_dither(total.shape[2], total.device)).bitwise_right_shift_(2).sub_(128)


def _code(canvas: torch.Tensor, quality: int) -> torch.Tensor:
    """Transform 8×8 blocks, quantize, and transform back. Integers in float32 (B, 3H/2, W)."""
    shape, device = canvas.shape, canvas.device
    forward, split, inverse, high, low = _matrices(device)
    step, reciprocal = _steps(quality, shape[1], shape[2], device)
    blocks = torch.mm(canvas.view(-1, 16), forward).add_(0.5).floor_().view(-1, 8, shape[2])
    sums = torch.matmul(split, blocks)  # (B·3H/16, 16, W): high parts, low parts
    blocks = torch.add(sums[:, :8], sums[:, 8:].floor_(), alpha=2.0**-8).add_(0.5).floor_()
    blocks.view(shape).mul_(reciprocal).round_().mul_(step)
    blocks = torch.matmul(inverse, blocks).add_(0.5).floor_().view(-1, 16)
    carried = torch.mm(blocks, low).floor_()
    levels = torch.mm(blocks, high).add_(carried, alpha=2.0**-11).add_(0.5).floor_()
    return levels.clamp_(-128, 127).view(shape)


def _upsample(chroma: torch.Tensor) -> torch.Tensor:
    """Double both sides with libjpeg's triangle filter: int16 (B, 2, h, w) -> (2, B, 2, 2h, w).

    Even columns first, then odd ones: interleaving is cheapest at the very end. Weights 9, 3, 3, 1 of
    16, edges repeated; even columns round with 8/16, odd ones with 7/16 (jdsample.c).
    """
    batch, _, height, width = chroma.shape
    thrice = chroma * 3
    sums = chroma.new_empty((batch, 2, height, 2, width))
    torch.add(thrice[:, :, 1:], chroma[:, :, :-1], out=sums[:, :, 1:, 0])
    torch.add(thrice[:, :, :-1], chroma[:, :, 1:], out=sums[:, :, :-1, 1])
    torch.add(thrice[:, :, 0], chroma[:, :, 0], out=sums[:, :, 0, 0])
    torch.add(thrice[:, :, -1], chroma[:, :, -1], out=sums[:, :, -1, 1])
    sums = sums.flatten(2, 3)  # (B, 2, 2h, w)
    out = chroma.new_empty((2, batch, 2, 2 * height, width))
    even, odd = out.unbind(0)
    torch.mul(sums, 3, out=odd).add_(7)
    torch.add(odd, 1, out=even)
    even[..., 1:] += sums[..., :-1]
    even[..., 0] += sums[..., 0]
    odd[..., :-1] += sums[..., 1:]
    odd[..., -1] += sums[..., -1]
    return out.bitwise_right_shift_(4)


def _to_rgb(luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """Convert planes less 128 to pixels: float32 (B, H, W), int16 (2, B, 2, H, W / 2) -> uint8 (B, 3, H, W).

    jdcolor.c floors chroma's part and adds luma; luma is whole, so flooring the sum is the same, and
    the sum exact wherever it is not clipped.
    """
    blue, red = chroma.to(torch.float32).unbind(2)  # (2, B, H, W / 2)
    light = torch.empty_like(blue, memory_format=torch.contiguous_format)
    torch.add(luma[..., ::2], 128.5, out=light[0])
    torch.add(luma[..., 1::2], 128.5, out=light[1])
    out = light.new_empty((2, light.shape[1], 3, *light.shape[2:]))
    torch.add(light, red, alpha=91881 / 65536, out=out[:, :, 0])
    torch.add((red * (-46802 / 65536)).add_(blue, alpha=-22554 / 65536), light, out=out[:, :, 1])
    torch.add(light, blue, alpha=116130 / 65536, out=out[:, :, 2])
    even, odd = out.to(torch.int16).clamp_(0, 255).unbind(0)
    return even.add_(odd, alpha=256).view(torch.uint8)  # two bytes side by side, the even one first


@lru_cache(maxsize=128)
def _pillow_serves(quality: int) -> bool:
    """Whether this Pillow makes the pixels of `roundtrip`: not all libraries that it comes with round alike.

    On a picture of odd sides, of waves that grow finer: every coefficient is in use.
    """
    random = np.random.default_rng(quality)
    rows, columns = np.mgrid[:61, :83]
    fine = random.uniform(0, 1, (3, 3, 1, 1))
    waves = np.sin(fine[0] * rows + fine[1] * columns + fine[2] / 9 * rows * columns)
    pixels = torch.from_numpy((128 + 127 * waves).astype(np.uint8))[None]
    return torch.equal(libjpeg.roundtrip(pixels, quality), roundtrip(pixels, quality))


@lru_cache(maxsize=8)
def _dither(width: int, device: torch.device) -> torch.Tensor:
    return (torch.arange(width, dtype=torch.int16) % 2 + 1).to(device)


@lru_cache(maxsize=8)
def _matrices(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return forward along rows, forward along columns (high and low part), and the inverses likewise.

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
    last = (torch.kron(pair, high / 2**11), torch.kron(pair, low / 2**7))
    return tuple(m.to(torch.float32).contiguous().to(device) for m in (forward, split, inverse, *last))


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
