"""Blur: gaussian, defocus, glass, motion, zoom. Definitions: hendrycks/robustness, make_imagenet_c.py."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from lnbench.corruptions import imageops, rng
from lnbench.corruptions.registry import TINY, corruption, whole
from lnbench.corruptions.smooth import smooth
from lnbench.lazy import np, torch

if TYPE_CHECKING:
    import numpy.typing as npt

_GLASS_DOUBLINGS = 6
_INTEGER_RADIUS = 7  # below it the smoothed disk ends inside its 17 × 17 grid, unmirrored


@corruption(
    "gaussian_blur",
    family="extra",
    parameters={"sigma": (TINY, 64)},
    tables={
        "imagenet": (1, 2, 3, 4, 6),
        "tiny-imagenet": (0.5, 0.75, 1, 1.25, 1.5),
        "cifar": (0.4, 0.6, 0.7, 0.8, 1),
    },
    reference="gaussian_blur",
    elements=450_000,
)
def gaussian_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """scikit-image's gaussian: truncated at 4 sigma, edges continued by the nearest pixel."""
    (sigma,) = parameters
    taps = imageops.gaussian_taps(sigma)
    if len(taps) <= 5:
        return _narrow_gaussian(pixels, taps)
    nudge = _white_nudge(taps)
    height, width = pixels.shape[2:]
    if pixels.device.type == "cpu":  # which multiplies by matrices faster than it convolves
        blurred = smooth(pixels.view(-1, height, width).to(torch.float32), sigma, 4.0, "nearest")
        return imageops.truncate(blurred.add_(nudge)).view(pixels.shape)
    padded = imageops.pad(imageops.stacked(pixels), len(taps) // 2, "nearest")
    blurred = imageops.correlate(imageops.correlate(padded, (taps,)), (taps,), transpose=True)
    return imageops.unstacked(imageops.truncate(blurred.add_(nudge)), pixels.shape)


# A convolution runs best on 16 images of 224 px, whose 48 planes fill vectors exactly.
@corruption(
    "defocus_blur",
    family="blur",
    parameters={"radius": (0, 30), "alias_blur": (0.01, 64)},
    tables={
        "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "tiny-imagenet": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    reference="defocus_blur",
    elements=lambda parameters: 600_000 if parameters[0] < _INTEGER_RADIUS else 2_420_000,
)
def defocus_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """A disk of light for every point: cv2.filter2D with an antialiased disk, borders mirrored."""
    radius, alias_blur = parameters
    weights = disk(radius, alias_blur)
    margin = len(weights) // 2
    if margin == 0:
        return pixels.clone()
    if margin <= 2:
        return _narrow_disk(pixels, weights)
    nudge = imageops.NUDGE if sum(map(sum, weights)) >= 1 else -imageops.NUDGE
    if radius < _INTEGER_RADIUS:
        padded = imageops.pad(pixels.to(torch.float32), margin, "mirror")
        return imageops.truncate(_summed_disk(padded, radius, alias_blur, margin).add_(nudge))
    padded = imageops.pad(imageops.stacked(pixels), margin, "mirror")
    blurred = imageops.correlate(padded, weights).add_(nudge)
    return imageops.unstacked(imageops.truncate(blurred), pixels.shape)


@corruption(
    "glass_blur",
    family="blur",
    parameters={"sigma": (TINY, 64), "max_delta": whole(1, 15), "iterations": whole(1, 32)},
    tables={
        "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "tiny-imagenet": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    reference="glass_blur",
    elements=800_000,
)
def glass_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """Blur, let pixels copy random neighbours in scan order, blur again."""
    sigma, max_delta, iterations = parameters
    blurred = gaussian_blur(pixels, (sigma,), key)
    batch, channels, height, width = pixels.shape
    delta = int(max_delta)
    source: torch.Tensor | None = None
    for iteration in range(int(iterations)):
        steps = random_steps(key.stream(iteration), delta, height, width)
        copied = copy_sources(steps, delta, _GLASS_DOUBLINGS)
        source = copied if source is None else source.index_select(0, copied)
    assert source is not None
    # From places in (B, H·W) to places in (B, C, H·W), one plane for each channel.
    here = _places(batch, height * width, pixels.device).view(batch, 1, -1)
    planes = _places(batch * channels, height * width, pixels.device).view(batch, channels, -1)
    index = (source.view_as(here) - here) + planes
    shuffled = blurred.view(-1).index_select(0, index.view(-1))
    return gaussian_blur(shuffled.view(pixels.shape), (sigma,), key)


@corruption(
    "motion_blur",
    family="blur",
    parameters={"radius": whole(1, 100), "sigma": (TINY, 1_000)},
    tables={
        "imagenet": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "tiny-imagenet": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "cifar": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    reference="motion_blur",
    elements=640_000,
)
def motion_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """ImageMagick's motion blur, each image along its own angle between -45° and 45°."""
    radius, sigma = parameters
    degrees = rng.uniform(key.stream("angle"), (1,)).view(-1) * 90 - 45
    return imageops.to_nearest(imageops.motion_blur(pixels.to(torch.float32), radius, sigma, degrees))


@corruption(
    "zoom_blur",
    family="blur",
    parameters={"stop": (1 + TINY, 4), "step": (0.001, 3)},
    tables={
        "imagenet": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "tiny-imagenet": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "cifar": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    },
    reference="zoom_blur",
    elements=2_400_000,
)
def zoom_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """Mean of the image and of its centre at zooms from 1 to `stop` in equal steps."""
    stop, step = parameters
    zooms = np.arange(1, stop, step).tolist()
    planes = imageops.stacked(pixels, multiple=16)
    total = planes * 2  # the image itself and zoom 1
    for zoom in zooms[1:]:
        total += imageops.clipped_zoom(planes, zoom)
    mean = total.div_(len(zooms) + 1).add_(imageops.NUDGE)
    return imageops.unstacked(imageops.truncate(mean), pixels.shape)


def _narrow_gaussian(pixels: torch.Tensor, taps: tuple[float, ...]) -> torch.Tensor:
    """The gaussian in float64, operation by operation as scipy does it.

    With so few weights flat patches of every level are common, and each level's own rounding in the
    definition decides between two results.
    """
    radius = len(taps) // 2
    x = imageops.pad(imageops.over(pixels.to(torch.float64), 255), radius, "nearest")
    for axis in (2, 3):
        size = x.shape[axis] - 2 * radius
        total = x.narrow(axis, radius, size) * taps[radius]
        for near in range(radius):
            pair = x.narrow(axis, near, size) + x.narrow(axis, 2 * radius - near, size)
            total += pair.mul_(taps[near])
        x = total
    return imageops.truncate(x.mul_(255))


def _narrow_disk(pixels: torch.Tensor, weights: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """The sum in float64: equal weights of 1/5 or 1/9 give whole numbers so often that rounding shows."""
    margin = len(weights) // 2
    height, width = pixels.shape[2:]
    x = imageops.pad(pixels.to(torch.float64), margin, "mirror")
    total = torch.zeros_like(pixels, dtype=torch.float64)
    for down, row in enumerate(weights):
        for right, weight in enumerate(row):
            if weight:
                total.add_(x[:, :, down : down + height, right : right + width], alpha=weight)
    return imageops.truncate(total)


def _summed_disk(padded: torch.Tensor, radius: float, alias_blur: float, margin: int) -> torch.Tensor:
    """Sum over a disk in 16-bit integers, run by run of equal length, then its 3 × 3 smoothing.

    Levels less 128 keep the sum of up to 255 pixels in range. `padded`: float (B, C, H + 2·margin,
    W + 2·margin). Returns float (B, C, H, W).
    """
    reach = int(radius)
    edge = margin - reach  # 1 where the smoothing needs one more pixel all around, else 0
    x = padded.sub_(128).to(torch.int16)
    height, width = (side - 2 * reach for side in x.shape[2:])
    half_widths = [math.isqrt(int(radius**2 - row**2)) for row in range(reach + 1)]
    run = x[..., reach : reach + width].clone()  # sum of 2·half + 1 pixels of a row
    total = torch.zeros_like(run[:, :, :height])
    for half in range(reach + 1):
        if half:
            run += x[..., reach - half : reach - half + width]
            run += x[..., reach + half : reach + half + width]
        for row in (row for row, wide in enumerate(half_widths) if wide == half):
            total += run[:, :, reach + row : reach + row + height]
            if row:
                total += run[:, :, reach - row : reach - row + height]
    pixels = sum(2 * half + 1 for half in half_widths) * 2 - (2 * half_widths[0] + 1)
    levels = total.to(torch.float32)
    if edge:
        middle, side = _alias_taps(alias_blur, 3)[1:].tolist()
        for axis in (2, 3):
            size = levels.shape[axis] - 2
            sides = levels.narrow(axis, 0, size) + levels.narrow(axis, 2, size)
            levels = levels.narrow(axis, 1, size).mul(middle).add_(sides, alpha=side)
    return levels.mul_(1 / pixels).add_(128)


def random_steps(key: rng.Key, delta: int, height: int, width: int) -> torch.Tensor:
    """Draw dx and dy of one pass of glass blur, integers in [-delta, delta): int32 (B, 2, H, W)."""
    level = rng.levels(key, 2 * height * width)
    return level.mul_(2 * delta).bitwise_right_shift_(16).sub_(delta).view(-1, 2, height, width)


def copy_sources(steps: torch.Tensor, delta: int, doublings: int) -> torch.Tensor:
    """Resolve one pass of glass blur's copying loop for all pixels at once.

    The loop visits (h, w) from the bottom right, h in H - delta … delta + 1, w likewise, and copies
    (h + dy, w + dx) into it. A pixel after (h, w) in reading order has been visited, so what is
    copied is what that one has become, and so on along a chain that ends at a pixel not yet
    visited or outside. Doubling the pointers n times follows 2^n links; a chain goes on with
    probability under 1/2, so 6 miss one pixel in 10^19.

    `steps`: (B, 2, H, W), dx then dy. Returns (B·H·W): for each pixel of the batch, counted through,
    the one whose value before the pass it holds after it.
    """
    batch, _, height, width = steps.shape
    count = batch * height * width
    here = _places(batch, height * width, steps.device)
    inside = _visited(height, width, delta, steps.device)
    move = (steps[:, 1] * width).add_(steps[:, 0]).mul_(inside).view(-1)
    # Places 0 … count-1 mean "as it becomes", count … 2·count-1 "as it was", where a chain ends.
    target = here + move
    target.add_((move <= 0).to(target.dtype), alpha=count)
    chain = torch.cat([target, here + count])
    for doubling in range(doublings):
        target = chain.index_select(0, target)
        if doubling + 1 < doublings:
            chain[:count] = target
    return target.remainder_(count)


@lru_cache(maxsize=16)
def _places(planes: int, size: int, device: torch.device) -> torch.Tensor:
    """0 … planes·size - 1, int32 where twice that fits."""
    dtype = torch.int32 if 2 * planes * size < 2**31 else torch.int64
    return torch.arange(planes * size, dtype=dtype, device=device)


@lru_cache(maxsize=16)
def _visited(height: int, width: int, delta: int, device: torch.device) -> torch.Tensor:
    """1 where the loop comes by, else 0, int32 (H, W)."""
    inside = torch.zeros(height, width, dtype=torch.int32)
    inside[delta + 1 : height - delta + 1, delta + 1 : width - delta + 1] = 1
    return inside.to(device)


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
    taps = _alias_taps(alias_blur, side).astype(np.float32)
    kernel = _smoothed(_smoothed(kernel, taps).T, taps).T
    used = np.flatnonzero((kernel > 1e-12).any(axis=0))
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    return tuple(tuple(row) for row in kernel.tolist())


def _alias_taps(sigma: float, side: int) -> npt.NDArray[np.float64]:
    blur = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    return np.asarray(blur / blur.sum())


def _smoothed(kernel: npt.NDArray[np.float32], taps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Filter the rows (…, N) with symmetric taps, mirrored at the ends, in OpenCV's order of rounding."""
    reach, size = len(taps) // 2, kernel.shape[1]
    wide = np.pad(kernel, ((0, 0), (reach, reach)), mode="reflect")
    total = kernel * taps[reach]
    for step in range(1, reach + 1):
        total += taps[reach + step] * (wide[:, reach - step :][:, :size] + wide[:, reach + step :][:, :size])
    return np.asarray(total, dtype=np.float32)


@lru_cache(maxsize=64)
def _white_nudge(taps: tuple[float, ...]) -> float:
    """The nudge that makes flat white come out as the float64 definition has it, 255 or 254.

    The definition's weights add up to 1 only nearly; white is by far the commonest flat region of
    photographs, so its rounding decides.
    """
    value = 1.0
    for _ in range(2):
        total = value * taps[len(taps) // 2]
        for weight in taps[: len(taps) // 2]:
            total += (value + value) * weight
        value = total
    return imageops.NUDGE if math.floor(min(value, 1) * 255) == 255 else -imageops.NUDGE
