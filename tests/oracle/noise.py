"""Literal definitions of the noise corruptions: NumPy, one image, the random field passed in.

After hendrycks/robustness, make_imagenet_c.py. Images are uint8 (H, W, 3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Field = npt.NDArray[np.floating]


def finish(x: Field) -> Image:
    """0–1 floats to 8 bits: clip, scale, drop the fraction."""
    return np.uint8(np.clip(x, 0, 1) * 255)


def gaussian_noise(image: Image, parameters: tuple[float, ...], normal: Field) -> Image:
    """`normal`: standard normal draws (H, W, 3)."""
    (scale,) = parameters
    x = image / 255.0
    return finish(x + scale * normal)


def shot_noise(image: Image, parameters: tuple[float, ...], counts: npt.NDArray[np.integer]) -> Image:
    """`counts`: Poisson draws of mean x · rate, (H, W, 3)."""
    (rate,) = parameters
    return finish(counts / float(rate))


def impulse_noise(
    image: Image, parameters: tuple[float, ...], flipped: npt.NDArray[np.bool_], salted: npt.NDArray[np.bool_]
) -> Image:
    """`flipped`: True with probability amount; `salted`: True with 1/2; both (H, W, 3)."""
    x = image / 255.0
    x[flipped & salted] = 1
    x[flipped & ~salted] = 0
    return finish(x)


def speckle_noise(image: Image, parameters: tuple[float, ...], normal: Field) -> Image:
    """`normal`: standard normal draws (H, W, 3)."""
    (scale,) = parameters
    x = image / 255.0
    return finish(x + x * (scale * normal))
