"""JPEG's round trip: planes, their blocks along rows, columns and back, pixels. Integers, as in `jpeg`."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import jpeg
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

BLOCK = 128
_WHOLE = tl.constexpr(1.5 * 2.0**23)  # added and taken away, it leaves a float32 rounded to even


@triton.jit
def planes(pixels, canvas, height, width, rows, columns, BLOCK: tl.constexpr):
    """Levels less 128, luma above the halved chroma planes, as `jpeg._planes` lays them: 2 × 2 at a time."""
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    half = columns // 2
    inside = place < (rows // 2) * half
    down, right = place // half, place % half
    size = height * width
    source = pixels + image * 3 * size
    out = canvas + image * (rows // 2 * 3) * columns
    last = (height - 1) // 2
    beyond = down > last
    top = 2 * tl.minimum(down, last)
    blues, reds = tl.zeros((BLOCK,), tl.int32), tl.zeros((BLOCK,), tl.int32)
    for x in tl.static_range(2):
        column = tl.minimum(2 * right + x, width - 1)
        above, blue, red = converted(source + top * width + column, size, inside)
        blues += blue
        reds += red
        below, blue, red = converted(source + tl.minimum(top + 1, height - 1) * width + column, size, inside)
        blues += blue
        reds += red
        at = out + 2 * down * columns + 2 * right + x
        tl.store(at, tl.where(beyond, below, above).to(tl.int8), mask=inside)
        tl.store(at + columns, below.to(tl.int8), mask=inside)
    dither = 1 + (right & 1)
    at = out + (rows + down) * columns + right
    tl.store(at, (((blues + dither) >> 2) - 128).to(tl.int8), mask=inside)
    tl.store(at + half, (((reds + dither) >> 2) - 128).to(tl.int8), mask=inside)


@triton.jit
def converted(at, size, inside):
    """Luma less 128, and both chroma levels, of the pixel at this place of the red plane."""
    red = tl.load(at, mask=inside, other=0).to(tl.int32)
    green = tl.load(at + size, mask=inside, other=0).to(tl.int32)
    blue = tl.load(at + 2 * size, mask=inside, other=0).to(tl.int32)
    luma = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16) - 128
    half = (256 << 15) + 32767
    cool = (32768 * blue - 21709 * green - 11059 * red + half) >> 16
    warm = (32768 * red - 27439 * green - 5329 * blue + half) >> 16
    return luma, cool, warm


@triton.jit
def along_rows(levels, sums, count, BLOCK: tl.constexpr):
    """Transform eight levels in a row, two words, to a thread: int16 in two words each."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    left = tl.load(levels + 2 * place, mask=inside, other=0)
    right = tl.load(levels + 2 * place + 1, mask=inside, other=0)
    made = forward(
        (
            (left << 24) >> 24, (left << 16) >> 24, (left << 8) >> 24, left >> 24,
            (right << 24) >> 24, (right << 16) >> 24, (right << 8) >> 24, right >> 24,
        ),
        11,
    )  # fmt: skip
    for pair in tl.static_range(4):
        both = (made[2 * pair] & 0xFFFF) | (made[2 * pair + 1] << 16)
        tl.store(sums + 4 * place + pair, both, mask=inside)


@triton.jit
def along_columns(sums, steps, reciprocals, count, columns, luma, height, BLOCK: tl.constexpr):
    """Transform eight numbers below one another, quantize, transform back, in place: a column to a thread.

    `columns`, `height`: numbers in a row, and rows of blocks of an image, first `luma` of luma.
    `steps`, `reciprocals`: as `jpeg._steps` lays them out for 24 × 8.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    line, column = place // columns, place % columns
    at = sums + line.to(tl.int64) * 8 * columns + column
    table = tl.where(line % height < luma, 0, 128) + (column & 7)
    numbers = ()
    for row in tl.static_range(8):
        numbers = numbers + (tl.load(at + row * columns, mask=inside, other=0).to(tl.int32),)
    numbers = forward(numbers, 15)
    whole = ()
    for row in tl.static_range(8):
        share = numbers[row].to(tl.float32) * tl.load(reciprocals + table + 8 * row)
        step = tl.load(steps + table + 8 * row)
        whole = whole + ((((share + _WHOLE) - _WHOLE) * step).to(tl.int32),)
    numbers = inverse(whole, 11)
    for row in tl.static_range(8):
        tl.store(at + row * columns, numbers[row].to(tl.int16), mask=inside)


@triton.jit
def back_along_rows(sums, levels, count, BLOCK: tl.constexpr):
    """Transform eight numbers in a row back to levels."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    numbers = ()
    for pair in tl.static_range(4):
        both = tl.load(sums + 4 * place + pair, mask=inside, other=0)
        numbers = numbers + ((both << 16) >> 16, both >> 16)
    made = inverse(numbers, 18)
    tl.store(levels + 2 * place, packed(made[0], made[1], made[2], made[3]), mask=inside)
    tl.store(levels + 2 * place + 1, packed(made[4], made[5], made[6], made[7]), mask=inside)


@triton.jit
def forward(x, BITS: tl.constexpr):
    """The 8-point transform of eight numbers, rounded to multiples of 2^BITS: libjpeg's jfdctint.c."""
    half = 1 << (BITS - 1)
    first, last = x[0] + x[7], x[0] - x[7]
    second, sixth = x[1] + x[6], x[1] - x[6]
    third, fifth = x[2] + x[5], x[2] - x[5]
    fourth, near = x[3] + x[4], x[3] - x[4]
    outer, inner = first + fourth, second + third
    wide, narrow = first - fourth, second - third
    turn = (wide + narrow) * 4433 + half
    five = (near + sixth + fifth + last) * 9633 + half
    one, two = (near + last) * -7373, (fifth + sixth) * -20995
    three, four = (near + sixth) * -16069 + five, (fifth + last) * -3196 + five
    return (
        ((outer + inner) * 8192 + half) >> BITS,
        (last * 12299 + one + four) >> BITS,
        (turn + wide * 6270) >> BITS,
        (sixth * 25172 + two + three) >> BITS,
        ((outer - inner) * 8192 + half) >> BITS,
        (fifth * 16819 + two + four) >> BITS,
        (turn - narrow * 15137) >> BITS,
        (near * 2446 + one + three) >> BITS,
    )


@triton.jit
def inverse(x, BITS: tl.constexpr):
    """The transpose, likewise, as jidctint.c; products may wrap around, their sums do not."""
    half = 1 << (BITS - 1)
    turn = (x[2] + x[6]) * 4433
    narrow, wide = turn - x[6] * 15137, turn + x[2] * 6270
    outer, inner = (x[0] + x[4]) * 8192 + half, (x[0] - x[4]) * 8192 + half
    five = (x[7] + x[3] + x[5] + x[1]) * 9633
    one, two = (x[7] + x[1]) * -7373, (x[5] + x[3]) * -20995
    three, four = (x[7] + x[3]) * -16069 + five, (x[5] + x[1]) * -3196 + five
    near, fifth = x[7] * 2446 + one + three, x[5] * 16819 + two + four
    sixth, last = x[3] * 25172 + two + three, x[1] * 12299 + one + four
    return (
        (outer + wide + last) >> BITS,
        (inner + narrow + sixth) >> BITS,
        (inner - narrow + fifth) >> BITS,
        (outer - wide + near) >> BITS,
        (outer - wide - near) >> BITS,
        (inner - narrow - fifth) >> BITS,
        (inner + narrow - sixth) >> BITS,
        (outer + wide - last) >> BITS,
    )


@triton.jit
def packed(a, b, c, d):
    """Four levels, clipped to a signed byte each, in one word."""
    a, b = tl.minimum(tl.maximum(a, -128), 127), tl.minimum(tl.maximum(b, -128), 127)
    c, d = tl.minimum(tl.maximum(c, -128), 127), tl.minimum(tl.maximum(d, -128), 127)
    return (a & 255) | ((b & 255) << 8) | ((c & 255) << 16) | (d << 24)


@triton.jit
def join(canvas, out, height, width, rows, columns, BLOCK: tl.constexpr):
    """Pixels again, chroma doubled with the triangle filter: 2 × 2 at a time, as `_upsample`, `_to_rgb`."""
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    wide, tall = (width + 1) // 2, (height + 1) // 2
    inside = place < wide * tall
    down, right = place // wide, place % wide
    planes = canvas + image * (rows // 2 * 3) * columns
    chroma = planes + rows * columns
    middle = down * columns
    above, below = tl.maximum(down - 1, 0) * columns, tl.minimum(down + 1, tall - 1) * columns
    before, after = tl.maximum(right - 1, 0), tl.minimum(right + 1, wide - 1)
    other = columns // 2
    blue_left = sums(chroma + before, above, middle, below, inside)
    blue_here = sums(chroma + right, above, middle, below, inside)
    blue_right = sums(chroma + after, above, middle, below, inside)
    red_left = sums(chroma + other + before, above, middle, below, inside)
    red_here = sums(chroma + other + right, above, middle, below, inside)
    red_right = sums(chroma + other + after, above, middle, below, inside)
    size = height * width
    for y in tl.static_range(2):
        for x in tl.static_range(2):
            if x == 0:
                blue = (3 * blue_here[y] + blue_left[y] + 8) >> 4
                red = (3 * red_here[y] + red_left[y] + 8) >> 4
            else:
                blue = (3 * blue_here[y] + blue_right[y] + 7) >> 4
                red = (3 * red_here[y] + red_right[y] + 7) >> 4
            row, column = 2 * down + y, 2 * right + x
            shown = inside & (row < height) & (column < width)
            light = tl.load(planes + row * columns + column, mask=shown, other=0).to(tl.int32) + 128
            at = out + image * 3 * size + row * width + column
            tl.store(at, level(light + ((91881 * red + 32768) >> 16)), mask=shown)
            tl.store(at + size, level(light + ((32768 - 46802 * red - 22554 * blue) >> 16)), mask=shown)
            tl.store(at + 2 * size, level(light + ((116130 * blue + 32768) >> 16)), mask=shown)


@triton.jit
def sums(column, above, middle, below, inside):
    """Three of a chroma sample and one of its neighbor above, and below."""
    thrice = 3 * tl.load(column + middle, mask=inside, other=0).to(tl.int32)
    up = thrice + tl.load(column + above, mask=inside, other=0).to(tl.int32)
    return up, thrice + tl.load(column + below, mask=inside, other=0).to(tl.int32)


@triton.jit
def level(number):
    return tl.minimum(tl.maximum(number, 0), 255).to(tl.uint8)


def jpeg_compression(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """As `jpeg.jpeg_compression`."""
    images, (height, width) = len(pixels), pixels.shape[2:]
    rows, columns = -(-height // 16) * 16, -(-width // 16) * 16
    canvas = torch.empty((images, rows * 3 // 2, columns // 4), dtype=torch.int32, device=pixels.device)
    out, levels = torch.empty_like(pixels), canvas.view(torch.int8)
    quads = triton.cdiv(rows * columns // 4, BLOCK)
    planes[(quads, images)](pixels, levels, height, width, rows, columns, BLOCK=BLOCK, enable_fp_fusion=False)
    code(canvas, int(parameters[0]), rows)
    shown = triton.cdiv(((height + 1) // 2) * ((width + 1) // 2), BLOCK)
    join[(shown, images)](levels, out, height, width, rows, columns, BLOCK=BLOCK, enable_fp_fusion=False)
    return out


def code(canvas: torch.Tensor, quality: int, rows: int) -> None:
    """As `jpeg._code`, in place: four levels to a word, int32 (B, 3·rows/2, columns / 4)."""
    columns, count = canvas.shape[2] * 4, canvas.numel() // 2
    steps, reciprocals = jpeg._steps(quality, 24, 8, canvas.device)
    sums = torch.empty((*canvas.shape[:2], columns), dtype=torch.int16, device=canvas.device)
    grid = (triton.cdiv(count, BLOCK),)
    along_rows[grid](canvas, sums.view(torch.int32), count, BLOCK=BLOCK, enable_fp_fusion=False)
    along_columns[grid](
        sums,
        steps,
        reciprocals,
        count,
        columns,
        rows // 8,
        rows * 3 // 16,
        BLOCK=BLOCK,
        enable_fp_fusion=False,
    )
    back_along_rows[grid](sums.view(torch.int32), canvas, count, BLOCK=BLOCK, enable_fp_fusion=False)
