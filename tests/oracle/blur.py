"""Literal definitions of the blurs: NumPy, SciPy, OpenCV, scikit-image; one image, randomness passed in.

After hendrycks/robustness, make_imagenet_c.py; motion blur after ImageMagick's MotionBlurImage.
Images are uint8 (H, W, 3).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import filters

from tests.oracle.noise import Field, Image, finish


def gaussian_blur(image: Image, parameters: tuple[float, ...]) -> Image:
    (sigma,) = parameters
    return finish(filters.gaussian(image / 255.0, sigma=sigma, channel_axis=-1))


def disk(radius: float, alias_blur: float) -> Field:
    if radius <= 8:
        line, size = np.arange(-8, 9), (3, 3)
    else:
        line, size = np.arange(-radius, radius + 1), (5, 5)
    across, down = np.meshgrid(line, line)
    kernel = np.array(across**2 + down**2 <= radius**2, dtype=np.float32)
    kernel /= np.sum(kernel)
    return cv2.GaussianBlur(kernel, ksize=size, sigmaX=alias_blur)


def defocus_blur(image: Image, parameters: tuple[float, ...]) -> Image:
    kernel = disk(*parameters)
    x = image / 255.0
    return finish(np.stack([cv2.filter2D(x[..., c], -1, kernel) for c in range(3)], axis=-1))


def copy_in_scan_order(x: npt.NDArray, delta: int, dx: npt.NDArray, dy: npt.NDArray) -> npt.NDArray:
    """One pass of glass blur's loop over (H, W, …); `dx`, `dy` in [-delta, delta), both (H, W).

    The authors' line reads like a swap, but its right side holds views of the array: the first
    assignment changes what the second one reads, so that a neighbour is copied and stays.
    """
    x = x.copy()
    for h in range(x.shape[0] - delta, delta, -1):
        for w in range(x.shape[1] - delta, delta, -1):
            x[h, w] = x[h + dy[h, w], w + dx[h, w]]
    return x


def glass_blur(image: Image, parameters: tuple[float, ...], steps: npt.NDArray[np.integer]) -> Image:
    """`steps`: (iterations, 2, H, W), dx then dy."""
    sigma, delta, iterations = parameters
    x = np.uint8(filters.gaussian(image / 255.0, sigma=sigma, channel_axis=-1) * 255)
    for iteration in range(int(iterations)):
        x = copy_in_scan_order(x, int(delta), steps[iteration, 0], steps[iteration, 1])
    return finish(filters.gaussian(x / 255.0, sigma=sigma, channel_axis=-1))


def motion_filter(x: Field, radius: float, sigma: float, degrees: float) -> Field:
    """Weighted sum of 2·radius + 1 pixels of (H, W, …) along the angle, edges continued."""
    width = 2 * math.ceil(radius) + 1
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(width)]
    total = sum(weights)
    across, down = width * math.cos(math.radians(degrees)), width * math.sin(math.radians(degrees))
    length = math.hypot(across, down)
    rows, columns = np.arange(x.shape[0]), np.arange(x.shape[1])
    out = np.zeros(x.shape)
    for i, weight in enumerate(weights):
        dx, dy = math.ceil(i * across / length - 0.5), math.ceil(i * down / length - 0.5)
        row, column = np.clip(rows + dy, 0, len(rows) - 1), np.clip(columns + dx, 0, len(columns) - 1)
        out += weight / total * x[row][:, column]
    return out


def motion_blur(image: Image, parameters: tuple[float, ...], degrees: float) -> Image:
    """ImageMagick rounds to the nearest level."""
    radius, sigma = parameters
    return np.uint8(
        np.clip(np.floor(motion_filter(image.astype(float), radius, sigma, degrees) + 0.5), 0, 255)
    )


def clipped_zoom(x: npt.NDArray, zoom: float) -> npt.NDArray:
    """The centre of (H, W, C) enlarged to H × W; the authors' squares generalized to two sides."""
    size = x.shape[:2]
    crop = [math.ceil(side / zoom) for side in size]
    top, left = ((side - part) // 2 for side, part in zip(size, crop, strict=True))
    x = ndimage.zoom(x[top : top + crop[0], left : left + crop[1]], (zoom, zoom, 1), order=1)
    top, left = ((large - side) // 2 for large, side in zip(x.shape[:2], size, strict=True))
    return x[top : top + size[0], left : left + size[1]]


def zoom_blur(image: Image, parameters: tuple[float, ...]) -> Image:
    stop, step = parameters
    zooms = np.arange(1, stop, step)
    x = (image / 255.0).astype(np.float32)
    total = np.zeros_like(x)
    for zoom in zooms:
        total += clipped_zoom(x, zoom)
    return finish((x + total) / (len(zooms) + 1))
