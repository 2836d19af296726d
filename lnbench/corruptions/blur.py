"""Blur: gaussian, defocus, glass, motion, zoom. Definitions: hendrycks/robustness, make_imagenet_c.py."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from lnbench.corruptions import imageops, rng
from lnbench.corruptions.registry import register

_GLASS_DOUBLINGS = 6


@register("gaussian_blur", group=800_000)
def gaussian_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """scikit-image's gaussian: truncated at 4 sigma, edges continued by the nearest pixel."""
    (sigma,) = parameters
    planes = imageops.stacked(pixels)
    blurred = imageops.gaussian(planes, sigma).add_(_white_nudge(sigma))
    return imageops.unstacked(imageops.truncate(blurred), pixels.shape)


@register("defocus_blur", group=800_000)
def defocus_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """A disk of light for every point: cv2.filter2D with an antialiased disk, borders mirrored."""
    weights = disk(*parameters)
    radius = len(weights) // 2
    if radius == 0:
        return pixels.clone()
    planes = imageops.pad(imageops.stacked(pixels), radius, radius, "mirror")
    nudge = imageops.NUDGE if sum(map(sum, weights)) >= 1 else -imageops.NUDGE
    blurred = imageops.correlate(planes, weights).add_(nudge)
    return imageops.unstacked(imageops.truncate(blurred), pixels.shape)


@register("glass_blur", group=800_000)
def glass_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """Blur, let pixels copy random neighbours in scan order, blur again."""
    sigma, max_delta, iterations = parameters
    blurred = gaussian_blur(pixels, (sigma,), key)
    batch, channels, height, width = pixels.shape
    delta = int(max_delta)
    source: torch.Tensor | None = None
    for iteration in range(int(iterations)):
        steps = rng.integers(key.stream(iteration), -delta, delta, (2, height, width))  # dx, dy
        copied = copy_sources(steps, delta, _GLASS_DOUBLINGS)  # (B, H·W)
        source = copied if source is None else source.gather(1, copied)
    assert source is not None
    shuffled = blurred.view(batch, channels, -1).gather(2, source[:, None].expand(-1, channels, -1))
    return gaussian_blur(shuffled.view(pixels.shape), (sigma,), key)


@register("motion_blur", group=160_000)
def motion_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """ImageMagick's motion blur, each image along its own angle between -45° and 45°."""
    radius, sigma = parameters
    degrees = rng.uniform(key.stream("angle"), (1,)).view(-1) * 90 - 45
    return imageops.to_nearest(imageops.motion_blur(pixels.to(torch.float32), radius, sigma, degrees))


@register("zoom_blur", group=2_400_000)
def zoom_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """Mean of the image and of its centre at zooms from 1 to `stop` in equal steps."""
    stop, step = parameters
    zooms = np.arange(1, stop, step).tolist()
    planes = imageops.stacked(pixels)
    total = planes * 2  # the image itself and zoom 1
    for zoom in zooms[1:]:
        total += imageops.clipped_zoom(planes, zoom)
    mean = total.div_(len(zooms) + 1).add_(imageops.NUDGE)
    return imageops.unstacked(imageops.truncate(mean), pixels.shape)


def copy_sources(steps: torch.Tensor, delta: int, doublings: int) -> torch.Tensor:
    """Resolve one pass of glass blur's copying loop for all pixels at once.

    The loop visits (h, w) from the bottom right, h in H - delta … delta + 1, w likewise, and copies
    (h + dy, w + dx) into it. A pixel after (h, w) in reading order has been visited, so what is
    copied is what that one has become, and so on along a chain that ends at a pixel not yet
    visited or outside. Doubling the pointers n times follows 2^n links; a chain goes on with
    probability under 1/2, so 6 miss one pixel in 10^19.

    `steps`: int64 (B, 2, H, W), dx then dy. Returns int64 (B, H·W): for each pixel the place whose
    value before the pass it holds after it.
    """
    batch, _, height, width = steps.shape
    count = height * width
    here = torch.arange(count, device=steps.device)
    inside = _visited(height, width, delta, steps.device)
    target = (steps[:, 1] * width + steps[:, 0]).view(batch, count).add_(here)
    target = torch.where(inside, target, here)
    # Places 0 … count-1 mean "as it becomes", count … 2·count-1 "as it was", where a chain ends.
    ended = target <= here
    chain = torch.cat([target + count * ended, (here + count).expand(batch, -1)], dim=1)
    for _ in range(doublings):
        chain[:, :count] = chain.gather(1, chain[:, :count])
    return chain[:, :count].remainder(count)


@lru_cache(maxsize=16)
def _visited(height: int, width: int, delta: int, device: torch.device) -> torch.Tensor:
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[delta + 1 : height - delta + 1, delta + 1 : width - delta + 1] = True
    return inside.view(-1).to(device)


@lru_cache(maxsize=64)
def disk(radius: float, alias_blur: float) -> tuple[tuple[float, ...], ...]:
    """Return the defocus kernel, trimmed to what is not zero: a disk, normalized in float32, blurred.

    The blur is 3 × 3 on a 17 × 17 grid, for radii over 8 it is 5 × 5 on a grid that just holds the
    disk, mirrored at the grid's edge (cv2.GaussianBlur).
    """
    half, side = (8, 3) if radius <= 8 else (int(radius), 5)
    place = np.arange(-half, half + 1)
    kernel = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float32)
    kernel /= kernel.sum()
    blur = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * alias_blur**2))
    blur /= blur.sum()
    spread = _smoothing(len(place), blur)
    kernel = (spread @ kernel @ spread.T).astype(np.float32)
    used = np.flatnonzero((kernel > 1e-12).any(axis=0))
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    return tuple(tuple(row) for row in kernel.tolist())


def _smoothing(size: int, taps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix (size, size) that correlates with `taps`, mirrored at the ends."""
    matrix = np.zeros((size, size))
    for row in range(size):
        for tap, weight in enumerate(taps, start=row - len(taps) // 2):
            matrix[row, size - 1 - abs(size - 1 - abs(tap))] += weight
    return matrix


@lru_cache(maxsize=64)
def _white_nudge(sigma: float) -> float:
    """The nudge that makes flat white come out as the float64 definition has it, 255 or 254.

    The definition's weights add up to 1 only nearly; white is by far the commonest flat region of
    photographs, so its rounding decides.
    """
    taps = imageops.gaussian_taps(sigma)
    value = 1.0
    for _ in range(2):
        total = value * taps[len(taps) // 2]
        for weight in taps[: len(taps) // 2]:
            total += (value + value) * weight
        value = total
    return imageops.NUDGE if math.floor(min(value, 1) * 255) == 255 else -imageops.NUDGE
