"""Pixelate: shrink and enlarge with Pillow's box filter, to the bit.

Pillow's box windows part the picture: output i of n is the mean of inputs round(i·s) to
round((i + 1)·s) - 1, s the shrink factor, rounded to 8 bits along rows, then again along columns.
(From version 13 on Pillow takes columns first in some pictures twice as tall as wide; this does not.)
Enlarging by a box repeats pixels.
"""

from __future__ import annotations

from functools import lru_cache

from lnbench.corruptions import bands
from lnbench.corruptions.registry import corruption
from lnbench.corruptions.rng import Key
from lnbench.lazy import torch

_NUDGE = 1e-4  # decides halves; above the rounding error of the sums, below the next fraction


@corruption(
    "pixelate",
    family="digital",
    parameters={"fraction": (0.01, 1)},
    tables={
        "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
        "tiny-imagenet": (0.9, 0.8, 0.7, 0.6, 0.5),
        "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
    },
    reference="pixelate",
    elements=600_000,
)
def pixelate(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Shrink to `parameters = (fraction,)` of the sides and enlarge. Uint8 (B, 3, H, W) in and out."""
    (fraction,) = parameters
    batch, _, height, width = pixels.shape
    shrink, round_columns, enlarge = _along_rows(width, fraction, pixels.device)
    taps, round_rows, repeat = _along_columns(height, fraction, pixels.device)
    image = pixels.to(torch.float32).view(-1, width)  # (B·3·H, W)
    image = torch.add(bands.along_rows(image, shrink), round_columns).floor_().flatten(1)
    image = image.view(batch * 3, height, -1)
    small = round_rows.repeat(batch * 3, 1, image.shape[2])
    for rows, weights in taps:
        small += image.index_select(1, rows).mul_(weights)
    large = bands.along_rows(small.flatten(0, 1), enlarge)  # (B·3·h, W / 16, 16)
    large = large.to(torch.int16).to(torch.uint8).flatten(1)[:, :width]
    return large.view(batch * 3, -1, width).index_select(1, repeat).view(pixels.shape)


def _windows(inputs: int, outputs: int) -> list[range]:
    """Inputs of every output's box, with the arithmetic of Pillow's Resample.c, which settles ties."""
    scale = inputs / outputs
    widest = max(scale, 1.0)
    windows = []
    for output in range(outputs):
        center = (output + 0.5) * scale
        first, stop = max(0, int(center - 0.5 * widest + 0.5)), min(inputs, int(center + 0.5 * widest + 0.5))
        inside = [i for i in range(first, stop) if -0.5 < (i - center + 0.5) / widest <= 0.5]
        windows.append(range(inside[0], inside[-1] + 1))
    return windows


def _rounding(count: int) -> float:
    """Return what makes truncation round a mean of `count` bytes as Pillow does.

    It multiplies by 2^22 / count rounded to an integer: where that fell, halves round down.
    """
    return 0.5 + (_NUDGE if round(2**22 / count) * count >= 2**22 else -_NUDGE)


@lru_cache(maxsize=16)
def _along_rows(
    size: int, fraction: float, device: torch.device
) -> tuple[bands.Bands, torch.Tensor, bands.Bands]:
    """Matrices that shrink and enlarge rows, and what to add in between before truncation.

    The small row is laid out in bands of 16 too, outputs dealt evenly, the rest of a band empty.
    """
    outputs = max(1, int(size * fraction))
    windows = _windows(size, outputs)
    groups = -(-outputs // bands.WIDTH)
    firsts = [-(-band * outputs // groups) for band in range(groups + 1)]
    places = [
        band * bands.WIDTH + i - firsts[band]
        for band in range(groups)
        for i in range(firsts[band], firsts[band + 1])
    ]
    shrink = torch.zeros(size, groups * bands.WIDTH)
    rounding = torch.zeros(groups * bands.WIDTH)
    for place, window in zip(places, windows, strict=True):
        shrink[window.start : window.stop, place] = 1 / len(window)
        rounding[place] = _rounding(len(window))
    enlarge = torch.zeros(groups * bands.WIDTH, -(-size // bands.WIDTH) * bands.WIDTH)
    for column, window in enumerate(_windows(outputs, size)):
        enlarge[places[window.start], column] = 1
    shrink_bands, enlarge_bands = (
        bands.Bands(step, blocks.to(device)) for step, blocks in (bands.cut(shrink), bands.cut(enlarge))
    )
    return shrink_bands, rounding.view(-1, bands.WIDTH).to(device), enlarge_bands


@lru_cache(maxsize=16)
def _along_columns(
    size: int, fraction: float, device: torch.device
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor, torch.Tensor]:
    """Taps (row numbers, weights (h, 1)) that shrink columns, what to add, and rows to enlarge by."""
    outputs = max(1, int(size * fraction))
    windows = _windows(size, outputs)
    taps = []
    for tap in range(max(map(len, windows))):
        rows = torch.tensor([min(window.start + tap, size - 1) for window in windows])
        weights = torch.tensor([(tap < len(window)) / len(window) for window in windows])
        taps.append((rows.to(device), weights.view(-1, 1).to(device)))
    rounding = torch.tensor([_rounding(len(window)) for window in windows]).view(1, -1, 1)
    repeat = torch.tensor([window.start for window in _windows(outputs, size)])
    return taps, rounding.to(device), repeat.to(device)
