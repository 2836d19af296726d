"""Photographs to test corruptions on: crops of those that travel with scikit-image, and hard cases."""

from __future__ import annotations

import numpy as np
import skimage.data
import torch
from PIL import Image


def photographs(height: int, width: int) -> np.ndarray:
    """Return crops uint8 (4, height, width, 3), each halved first so that there is detail in it."""
    crops = []
    for picture in (
        skimage.data.astronaut(),
        skimage.data.chelsea(),
        skimage.data.coffee(),
        skimage.data.rocket(),
    ):
        scale = max(height / picture.shape[0], width / picture.shape[1], 0.5)
        sides = (round(picture.shape[1] * scale) + 1, round(picture.shape[0] * scale) + 1)
        small = np.asarray(Image.fromarray(picture).resize(sides, Image.Resampling.BILINEAR))
        top, left = (small.shape[0] - height) // 2, (small.shape[1] - width) // 2
        crops.append(small[top : top + height, left : left + width])
    return np.stack(crops)


def extremes(height: int, width: int) -> np.ndarray:
    """Return black, white, one gray, one color, black-and-white noise and full noise, uint8."""
    random = np.random.default_rng(0)
    flat = [np.full((height, width, 3), color, dtype=np.uint8) for color in (0, 255, 93, (200, 30, 77))]
    coarse = random.integers(0, 2, (height, width, 3), dtype=np.uint8) * 255
    return np.stack([*flat, coarse, random.integers(0, 256, (height, width, 3), dtype=np.uint8)])


def to_batch(images: np.ndarray) -> torch.Tensor:
    """Uint8 (B, H, W, 3) to a batch for the kernels, (B, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def from_batch(pixels: torch.Tensor) -> np.ndarray:
    """Undo `to_batch`."""
    assert pixels.dtype == torch.uint8
    return pixels.permute(0, 2, 3, 1).numpy()


def difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the absolute difference in levels."""
    assert left.shape == right.shape
    return np.abs(left.astype(np.int16) - right)
