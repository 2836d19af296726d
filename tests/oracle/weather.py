"""Literal definitions of the weather corruptions and spatter: one image at a time, by others' code.

ImageNet-C (Hendrycks & Dietterich, arXiv 1903.12261), hendrycks/robustness, ImageNet-C/create_c, with
NumPy, SciPy, OpenCV and scikit-image. Each function takes an image uint8 (H, W, 3), the parameters of
any table, and the random field. All return uint8 (H, W, 3). ImageMagick's motion blur is written out
from its formula (MagickCore/effect.c), so that it need not be installed.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import zoom as scipy_zoom
from skimage.filters import gaussian

from tests.oracle.digital import to_pixels


def plasma(field: np.ndarray, decay: float) -> np.ndarray:
    """Diamond-square, point by point; `field` (S, S), uniform -1–1, holds each point's number."""
    side = len(field)
    heights = np.zeros((side, side))
    step, wibble = side, 100.0
    while step >= 2:
        half = step // 2
        for y in range(half, side, step):
            for x in range(half, side, step):
                corners = [
                    (y - half, x - half),
                    (y - half, x + half),
                    (y + half, x - half),
                    (y + half, x + half),
                ]
                total = sum(heights[i % side, j % side] for i, j in corners)
                heights[y, x] = total / 4 + wibble * (wibble * field[y, x])
        for y in range(0, side, half):
            for x in range(half if y % step == 0 else 0, side, step):
                around = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                total = sum(heights[i % side, j % side] for i, j in around)
                heights[y, x] = total / 4 + wibble * (wibble * field[y, x])
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def fog(image: np.ndarray, parameters: tuple[float, ...], field: np.ndarray) -> np.ndarray:
    """Add the plasma and scale back by the brightest pixel."""
    amount, decay = parameters
    height, width = image.shape[:2]
    unit = image / 255.0
    brightest = unit.max()
    unit = unit + amount * plasma(field, decay)[:height, :width, None]
    return to_pixels(unit * brightest / (brightest + amount))


def frost(
    image: np.ndarray, parameters: tuple[float, ...], picture: Path, factor: float, row: int, column: int
) -> np.ndarray:
    """Add the crop at (row, column) of the picture of ice, scaled by `factor`."""
    height, width = image.shape[:2]
    ice = cv2.imread(str(picture))
    if factor != 1:
        ice = cv2.resize(ice, (0, 0), fx=factor, fy=factor)
    crop = ice[row : row + height, column : column + width, ::-1]
    assert crop.shape == image.shape
    return np.clip(parameters[0] * image + parameters[1] * crop, 0, 255).astype(np.uint8)


def motion_blur(layer: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Blur an 8-bit layer as ImageMagick's MotionBlurImage of 2018 does: its sums, rounded."""
    return np.floor(motion_sums(layer, radius, sigma, degrees) + 0.5).astype(np.uint8)


def motion_sums(layer: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """One half of a Gaussian along a line, over an 8-bit layer (H, W); float64."""
    taps = 2 * radius + 1
    weights = np.exp(-(np.arange(taps) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    weights /= weights.sum()
    down, right = taps * np.sin(np.deg2rad(degrees)), taps * np.cos(np.deg2rad(degrees))
    length = np.hypot(down, right)
    rows, columns = np.indices(layer.shape)
    total = np.zeros(layer.shape)
    for i, weight in enumerate(weights):
        y = np.clip(rows + int(np.ceil(i * down / length - 0.5)), 0, layer.shape[0] - 1)
        x = np.clip(columns + int(np.ceil(i * right / length - 0.5)), 0, layer.shape[1] - 1)
        total += weight * layer[y, x]
    return total


def clipped_zoom(layer: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of a layer to its own size."""
    sides = layer.shape
    parts = [int(np.ceil(side / factor)) for side in sides]
    starts = [(side - part) // 2 for side, part in zip(sides, parts, strict=True)]
    middle = layer[starts[0] : starts[0] + parts[0], starts[1] : starts[1] + parts[1]]
    large = scipy_zoom(middle, (factor, factor), order=1)
    trims = [(full - side) // 2 for full, side in zip(large.shape, sides, strict=True)]
    return large[trims[0] : trims[0] + sides[0], trims[1] : trims[1] + sides[1]]


def snow(image: np.ndarray, parameters: tuple[float, ...], field: np.ndarray, degrees: float) -> np.ndarray:
    """Let fall the snow of `field`, standard normal (H, W), of which the zoom uses the middle."""
    mean, scale, zoom, threshold, radius, sigma, mix = parameters
    height, width = image.shape[:2]
    unit = image.astype(np.float32) / 255
    layer = clipped_zoom(field * scale + mean, zoom)
    layer[layer < threshold] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    layer = motion_blur(layer, int(radius), sigma, degrees)[..., None] / 255.0
    gray = cv2.cvtColor(unit, cv2.COLOR_RGB2GRAY).reshape(height, width, 1)
    unit = mix * unit + (1 - mix) * np.maximum(unit, gray * 1.5 + 0.5)
    return to_pixels(unit + layer + np.rot90(layer, k=2))


def spatter(image: np.ndarray, parameters: tuple[float, ...], field: np.ndarray) -> np.ndarray:
    """Water drops or mud from `field`, standard normal (H, W)."""
    mean, scale, sigma, threshold, intensity, mud = parameters
    unit = image.astype(np.float32) / 255
    layer = gaussian(field * scale + mean, sigma=sigma)
    layer[layer < threshold] = 0
    if mud:
        stain = gaussian((layer > threshold).astype(np.float32), sigma=intensity)
        stain[stain < 0.8] = 0
        brown = np.array([63, 42, 20]) / 255.0
        return to_pixels(unit * (1 - stain[..., None]) + brown * stain[..., None])

    liquid = (layer * 255).astype(np.uint8)
    water = liquid * drops(liquid)
    if water.max() == 0:  # the authors divide by zero here
        return image
    water = water / water.max() * intensity
    turquoise = np.array([175, 238, 238]) / 255.0
    return to_pixels(unit + water[..., None] * turquoise)


def drops(liquid: np.ndarray) -> np.ndarray:
    """Light on the drops of an 8-bit layer: distance to their outlines, equalized and lit, float32 (H, W)."""
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
    relief = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(relief, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    return cv2.blur(relief, (3, 3)).astype(np.float32)
