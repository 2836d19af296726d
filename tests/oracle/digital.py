"""Literal definitions of the digital corruptions and saturate: one image at a time, by others' code.

ImageNet-C (Hendrycks & Dietterich, arXiv 1903.12261), hendrycks/robustness, ImageNet-C/create_c, with
NumPy, SciPy, OpenCV, Pillow and scikit-image. Each function takes an image uint8 (H, W, 3), the
parameters of any table, and the random numbers where there are any. All return uint8 (H, W, 3).
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import skimage.color
from PIL import Image
from scipy.ndimage import map_coordinates
from skimage.filters import gaussian


def to_pixels(image: np.ndarray) -> np.ndarray:
    """Clip 0–1 values and truncate to 8 bits, as the authors store every result."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def contrast(image: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Move every channel towards its mean."""
    unit = image / 255.0
    means = unit.mean(axis=(0, 1), keepdims=True)
    return to_pixels((unit - means) * parameters[0] + means)


def brightness(image: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Raise the value of HSV."""
    hsv = skimage.color.rgb2hsv(image / 255.0)
    hsv[..., 2] = np.clip(hsv[..., 2] + parameters[0], 0, 1)
    return to_pixels(skimage.color.hsv2rgb(hsv))


def saturate(image: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Scale and shift the saturation of HSV."""
    hsv = skimage.color.rgb2hsv(image / 255.0)
    hsv[..., 1] = np.clip(hsv[..., 1] * parameters[0] + parameters[1], 0, 1)
    return to_pixels(skimage.color.hsv2rgb(hsv))


def pixelate(image: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Shrink and enlarge with Pillow's box filter, rows before columns.

    Pillow does so of itself, but from version 13 on takes the columns of tall pictures first.
    """
    height, width = image.shape[:2]
    small = int(width * parameters[0]), int(height * parameters[0])
    picture = Image.fromarray(image).resize((small[0], height), Image.Resampling.BOX)
    picture = picture.resize(small, Image.Resampling.BOX)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Encode and decode with Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(parameters[0]))
    return np.asarray(Image.open(buffer))


def elastic_transform(
    image: np.ndarray,
    parameters: tuple[float, ...],
    corners: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
) -> np.ndarray:
    """Move three points at random, then every pixel along a smooth random field.

    `corners`: uniform -1–1 (3, 2), what the three points move by, in units of the third parameter;
    `across`, `down`: uniform -1–1 (H, W), the raw displacements along x and y.
    """
    alpha, sigma, affine = parameters
    unit = image.astype(np.float32) / 255
    height, width = image.shape[:2]
    center = np.array([height, width], dtype=np.float32) // 2  # the authors' order; they have squares only
    reach = min(height, width) // 3
    points = np.stack([center + reach, [center[0] + reach, center[1] - reach], center - reach]).astype(
        np.float32
    )
    moved = points + (corners * affine).astype(np.float32)
    matrix = cv2.getAffineTransform(points, moved)
    unit = cv2.warpAffine(unit, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)

    dx, dy = (
        (gaussian(field, sigma, mode="reflect", truncate=3) * alpha).astype(np.float32)
        for field in (across, down)
    )
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    planes = [
        map_coordinates(unit[..., channel], (rows + dy, columns + dx), order=1, mode="reflect")
        for channel in range(3)
    ]
    return to_pixels(np.stack(planes, axis=-1))
