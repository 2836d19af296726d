"""Gaussian and defocus blur: a thread goes down four columns, row by row.

What a row adds to the rows around it waits in registers until each of them is whole: rows are read once, and
nothing is written but pixels.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import triton
import triton.language as tl

from lnbench.corruptions import blur, imageops, rng
from lnbench.corruptions.fused.planes import bordered, level, truncated
from lnbench.lazy import torch

BLOCK = 128
STRIP = 56  # rows of one program; those around it are read again
_WIDEST = 12  # pixels to either side: more would not stay in registers


@triton.jit
def spread(
    words, out, columns, height, across, beside, nudge,
    TAPS: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Filter along rows, then along columns, by the same symmetric taps. `columns`: words across planes."""
    REACH: tl.constexpr = len(TAPS) // 2
    inside, here, there, left = descent(words, out, columns, height, across, beside, REACH, STRIP, BLOCK)
    waiting = (tl.zeros((BLOCK,), tl.float32),) * (8 * REACH + 4)
    for row in range(STRIP + 2 * REACH):
        at = row + tl.zeros((BLOCK,), tl.int32)
        x = row_of(here + row * (across + 2 * beside), inside & (at < left), REACH)
        ORIGIN: tl.constexpr = (REACH + 3) // 4 * 4
        ready = ()
        for byte in tl.static_range(4):
            total = TAPS[REACH] * x[ORIGIN + byte]
            for step in tl.static_range(1, REACH + 1):
                total += TAPS[REACH + step] * (x[ORIGIN + byte - step] + x[ORIGIN + byte + step])
            ready = ready + (total,)
        moved = ()
        for tap in tl.static_range(2 * REACH):
            for byte in tl.static_range(4):
                moved = moved + (waiting[4 * tap + 4 + byte] + TAPS[tap] * ready[byte],)
        for byte in tl.static_range(4):
            moved = moved + (TAPS[2 * REACH] * ready[byte],)
        waiting = moved
        done = inside & (at < left) & (at >= 2 * REACH)
        tl.store(there + row * across, four(waiting, nudge), mask=done)


@triton.jit
def disperse(
    words, out, columns, height, across, beside, nudge,
    RUNS: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up a kernel by rows of centred runs: RUNS[row][half] is what 2·half + 1 pixels count there."""
    REACH: tl.constexpr = len(RUNS) // 2
    inside, here, there, left = descent(words, out, columns, height, across, beside, REACH, STRIP, BLOCK)
    waiting = (tl.zeros((BLOCK,), tl.float32),) * (8 * REACH + 4)
    for row in range(STRIP + 2 * REACH):
        at = row + tl.zeros((BLOCK,), tl.int32)
        x = row_of(here + row * (across + 2 * beside), inside & (at < left), REACH)
        ORIGIN: tl.constexpr = (REACH + 3) // 4 * 4
        runs = (x[ORIGIN], x[ORIGIN + 1], x[ORIGIN + 2], x[ORIGIN + 3])
        for half in tl.static_range(1, REACH + 1):
            for byte in tl.static_range(4):
                pair = x[ORIGIN + byte - half] + x[ORIGIN + byte + half]
                runs = runs + (runs[4 * half - 4 + byte] + pair,)
        moved, fresh = (), tl.zeros((BLOCK,), tl.float32)
        for tap in tl.static_range(2 * REACH + 1):
            for byte in tl.static_range(4):
                total = fresh if tap == 2 * REACH else waiting[4 * tap + 4 + byte]
                for half in tl.static_range(REACH + 1):
                    if RUNS[tap][half] != 0.0:
                        total += RUNS[tap][half] * runs[4 * half + byte]
                moved = moved + (total,)
        waiting = moved
        done = inside & (at < left) & (at >= 2 * REACH)
        tl.store(there + row * across, four(waiting, nudge), mask=done)


@triton.jit
def descent(
    words, out, columns, height, across, beside,
    REACH: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Which lanes have columns, where each begins to read and to write, and how many rows are to come."""
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, start = (lane // across).to(tl.int64), tl.program_id(1) * STRIP
    here = words + (plane * (height + 2 * REACH) + start) * (across + 2 * beside) + lane % across
    there = out + (plane * height + start - 2 * REACH) * across + lane % across
    return lane < columns, here, there, height + 2 * REACH - start


@triton.jit
def row_of(at, inside, REACH: tl.constexpr):
    """The levels around four pixels of a row, those of whole words: float32, from left to right."""
    x = ()
    for word in tl.static_range((REACH + 3) // 4 * 2 + 1):
        four = tl.load(at + word, mask=inside, other=0)
        x = x + (level(four, 0), level(four, 1), level(four, 2), level(four, 3))
    return x


@triton.jit
def four(numbers, nudge):
    """The first four of the numbers as one word."""
    low = truncated(numbers[0] + nudge) | (truncated(numbers[1] + nudge) << 8)
    return low | (truncated(numbers[2] + nudge) << 16) | (truncated(numbers[3] + nudge) << 24)


def gaussian_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `blur.gaussian_blur`; what is computed in float64 there, or is too broad, stays there."""
    taps = imageops.gaussian_taps(parameters[0])
    if not 5 < len(taps) <= 2 * _WIDEST + 1:
        return blur.gaussian_blur(pixels, parameters, key)
    return _filtered(spread, pixels, "nearest", blur._white_nudge(taps), TAPS=taps)


def defocus_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `blur.defocus_blur`, likewise."""
    weights = blur.disk(*parameters)
    if not 2 < len(weights) // 2 <= _WIDEST:
        return blur.defocus_blur(pixels, parameters, key)
    nudge = imageops.NUDGE if sum(map(sum, weights)) >= 1 else -imageops.NUDGE
    return _filtered(disperse, pixels, "mirror", nudge, RUNS=_runs(weights))


@lru_cache(maxsize=64)
def _runs(weights: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """Symmetric rows of weights as sums of centred runs; what is left of rounding inside a disk is 0."""
    reach = len(weights) // 2
    least = max(map(max, weights)) * 1e-6

    def counts(row: tuple[float, ...]) -> tuple[float, ...]:
        steps = (near - far for near, far in pairwise((*row[reach:], 0.0)))
        return tuple(step if abs(step) > least else 0.0 for step in steps)

    return tuple(map(counts, weights))


def _filtered(
    kernel, pixels: torch.Tensor, border: imageops.Border, nudge: float, **weights: tuple[object, ...]
) -> torch.Tensor:
    (taps,) = weights.values()
    height, width = pixels.shape[2:]
    padded = bordered(pixels, len(taps) // 2, border)
    count = len(padded.words)
    out = torch.empty((count, height, padded.across), dtype=torch.int32, device=pixels.device)
    columns, strip = count * padded.across, min(STRIP, height)
    kernel[(triton.cdiv(columns, BLOCK), triton.cdiv(height, strip))](
        padded.words, out, columns, height, padded.across, padded.beside, nudge, **weights,
        STRIP=strip, BLOCK=BLOCK, enable_fp_fusion=True,
    )  # fmt: skip
    made = out.view(torch.uint8)[:, :, :width]
    return made.contiguous().view(pixels.shape)
