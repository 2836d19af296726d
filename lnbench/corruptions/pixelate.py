"""Pixelate: shrink and enlarge with Pillow's box filter, to the bit.

Pillow's box windows part the picture: output i of n is the mean of inputs round(i·s) to
round((i + 1)·s) - 1, s the shrink factor, rounded to 8 bits along rows, then again along columns.
Enlarging by a box repeats pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import torch

from lnbench.corruptions.registry import register
from lnbench.corruptions.rng import Key

_Bands: TypeAlias = tuple[int, torch.Tensor]

_BAND = 16  # columns made by one small matrix product: what CPUs multiply best
_NUDGE = 1e-4  # decides halves; above the rounding error of the sums, below the next fraction


@register("pixelate")
def pixelate(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Shrink to `parameters = (fraction,)` of the sides and enlarge. Uint8 (B, 3, H, W) in and out."""
    (fraction,) = parameters
    batch, _, height, width = pixels.shape
    shrink, round_columns, enlarge = _along_rows(width, fraction, pixels.device)
    taps, round_rows, repeat = _along_columns(height, fraction, pixels.device)
    image = pixels.to(torch.float32).view(-1, width)  # (B·3·H, W)
    image = torch.add(_multiply(image, *shrink), round_columns).floor_().flatten(1)
    image = image.view(batch * 3, height, -1)
    small = round_rows.expand(batch * 3, -1, image.shape[2])
    for rows, weights in taps:
        small = torch.addcmul(small, image.index_select(1, rows), weights)
    large = _multiply(small.flatten(0, 1), *enlarge)  # (B·3·h, W / 16, 16)
    large = large.to(torch.int16).to(torch.uint8).flatten(1)[:, :width]
    return large.view(batch * 3, -1, width).index_select(1, repeat).view(pixels.shape)


def _multiply(image: torch.Tensor, step: int, bands: torch.Tensor) -> torch.Tensor:
    """Multiply by a matrix given in bands: (N, W) -> a view (N, bands, 16)."""
    windows = image.as_strided((len(bands), len(image), bands.shape[1]), (step, image.shape[1], 1))
    return torch.bmm(windows, bands).transpose(0, 1)


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
def _along_rows(size: int, fraction: float, device: torch.device) -> tuple[_Bands, torch.Tensor, _Bands]:
    """Matrices that shrink and enlarge rows, and what to add in between before truncation.

    The small row is laid out in bands of 16 too, outputs dealt evenly, the rest of a band empty.
    """
    outputs = max(1, int(size * fraction))
    windows = _windows(size, outputs)
    groups = -(-outputs // _BAND)
    firsts = [-(-band * outputs // groups) for band in range(groups + 1)]
    places = [
        band * _BAND + i - firsts[band]
        for band in range(groups)
        for i in range(firsts[band], firsts[band + 1])
    ]
    shrink = torch.zeros(size, groups * _BAND)
    rounding = torch.zeros(groups * _BAND)
    for place, window in zip(places, windows, strict=True):
        shrink[window.start : window.stop, place] = 1 / len(window)
        rounding[place] = _rounding(len(window))
    enlarge = torch.zeros(groups * _BAND, -(-size // _BAND) * _BAND)
    for column, window in enumerate(_windows(outputs, size)):
        enlarge[places[window.start], column] = 1
    return _in_bands(shrink, device), rounding.view(-1, _BAND).to(device), _in_bands(enlarge, device)


def _in_bands(matrix: torch.Tensor, device: torch.device) -> _Bands:
    """Cut a matrix (W, 16·bands) whose entries lie near the diagonal into (bands, K, 16).

    Band j keeps rows step·j to step·j + K - 1, which hold all that is not zero in its columns.
    """
    size, bands = matrix.shape[0], matrix.shape[1] // _BAND
    used = [matrix[:, band * _BAND : (band + 1) * _BAND].any(1).nonzero().flatten() for band in range(bands)]
    firsts, stops = [int(rows[0]) for rows in used], [int(rows[-1]) + 1 for rows in used]
    for step in range(size // bands, -1, -1):
        reach = max(stop - step * band for band, stop in enumerate(stops))
        if step * (bands - 1) + reach <= size and all(
            first >= step * band for band, first in enumerate(firsts)
        ):
            break
    parts = [
        matrix[step * band : step * band + reach, band * _BAND : (band + 1) * _BAND] for band in range(bands)
    ]
    return step, torch.stack(parts).to(device)


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
