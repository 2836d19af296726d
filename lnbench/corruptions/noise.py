"""Noise: gaussian, shot, impulse, speckle. Definitions: hendrycks/robustness, make_imagenet_c.py.

All four are worked out on the 256 grey levels beforehand where the arithmetic allows, so that a
pixel costs a few integer operations and is the same number on every device.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from lnbench.corruptions import rng
from lnbench.corruptions.registry import TINY, corruption
from lnbench.lazy import np, torch

if TYPE_CHECKING:
    import numpy.typing as npt


@corruption(
    "gaussian_noise",
    family="noise",
    parameters={"scale": (TINY, 100)},
    tables={
        "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
        "tiny-imagenet": (0.04, 0.08, 0.12, 0.15, 0.18),
        "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
    },
    reference="gaussian_noise",
    elements=480_000,
)
def gaussian_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """x + N(0, scale²), x on the 0–1 scale; a fresh draw for every pixel and channel."""
    (scale,) = parameters
    index = rng.levels(key, pixels[0].numel())
    noise = torch.index_select(_offsets(scale, pixels.device), 0, index.view(-1))
    return noise.view(pixels.shape).add_(pixels).clamp_(0, 255).to(torch.uint8)


@corruption(
    "shot_noise",
    family="noise",
    parameters={"rate": (0.1, 1_000)},
    tables={
        "imagenet": (60, 25, 12, 5, 3),
        "tiny-imagenet": (250, 100, 50, 30, 15),
        "cifar": (500, 250, 100, 75, 50),
    },
    reference="shot_noise",
    elements=480_000,
)
def shot_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """Poisson(x · rate) / rate, x on the 0–1 scale.

    Walker's alias method: a level's distribution is cut into 2^k equally likely columns that hold
    two results each, so one table look-up and one comparison draw from it exactly (to 2^-(16+k)).
    """
    (rate,) = parameters
    table, columns = _poisson_columns(rate, pixels.device)
    words = rng.bits(key, pixels[0].numel()).view(pixels.shape)
    index = (words >> 16).bitwise_and_(columns - 1)
    index.add_(pixels.to(torch.int32), alpha=columns)
    entry = torch.index_select(table, 0, index.view(-1)).view(pixels.shape)
    # entry = threshold << 16 | second << 8 | first; the first where the low half is under the threshold.
    # The shift of an int32 keeps its sign, so thresholds of a half and more need the mask.
    threshold = (entry >> 16).bitwise_and_(0xFFFF)
    under = words.bitwise_and_(0xFFFF).sub_(threshold).bitwise_right_shift_(31)  # -1 or 0
    return entry.bitwise_right_shift_(under.add_(1).mul_(8)).to(torch.uint8)


@corruption(
    "impulse_noise",
    family="noise",
    parameters={"amount": (0, 1)},
    tables={
        "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27),
        "tiny-imagenet": (0.01, 0.02, 0.05, 0.08, 0.14),
        "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
    },
    reference="impulse_noise",
    elements=480_000,
)
def impulse_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """Salt and pepper, each with probability amount / 2, for every pixel and channel."""
    (amount,) = parameters
    half = round(amount / 2 * 65536)
    level = rng.halves(key, pixels[0].numel()).reshape(pixels.shape)
    # Zero in the middle, negative in the lowest `half` levels of 65,536, positive in the highest.
    excess = level.sub_(level.clamp(half - 32768, 32767 - half))
    return excess.clamp_(-1, 1).mul_(255).add_(pixels).clamp_(0, 255).to(torch.uint8)


@corruption(
    "speckle_noise",
    family="extra",
    parameters={"scale": (TINY, 100)},
    tables={
        "imagenet": (0.15, 0.2, 0.35, 0.45, 0.6),
        "tiny-imagenet": (0.15, 0.2, 0.25, 0.3, 0.35),
        "cifar": (0.06, 0.1, 0.12, 0.16, 0.2),
    },
    reference="speckle_noise",
    elements=480_000,
)
def speckle_noise(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """x + x · N(0, scale²)."""
    (scale,) = parameters
    index = rng.levels(key, pixels[0].numel())
    factor = torch.index_select(_factors(scale, pixels.device), 0, index.view(-1)).view(pixels.shape)
    return factor.mul_(pixels).clamp_(0, 255).to(torch.int32).to(torch.uint8)


@lru_cache(maxsize=16)
def _offsets(scale: float, device: torch.device) -> torch.Tensor:
    """Grey levels to add for each level of `rng.normal`, int16: the pixel is whole, so the sum's
    truncation is the truncation of the noise."""
    offsets = (rng.normal_quantiles() * (255 * scale)).floor().clamp(-256, 256)
    return offsets.to(torch.int16).to(device)


@lru_cache(maxsize=16)
def _factors(scale: float, device: torch.device) -> torch.Tensor:
    """1 + scale · z for each level z of `rng.normal`, float32."""
    return (1 + scale * rng.normal_quantiles()).to(torch.float32).to(device)


@lru_cache(maxsize=16)
def _poisson_columns(rate: float, device: torch.device) -> tuple[torch.Tensor, int]:
    """The alias tables of the 256 levels, int32 (256 · columns), and the number of columns."""
    columns = 1 << math.ceil(math.log2(math.ceil(rate) + 1))
    threshold, alias = alias_tables(poisson_masses(rate, columns))
    counts = np.arange(columns)
    grey = (np.clip(counts / rate, 0, 1) * 255).astype(np.int64)  # result of each count
    entry = np.rint(threshold * 65536).astype(np.int64).clip(0, 65535) << 16 | grey[alias] << 8 | grey
    words = (entry & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return torch.from_numpy(words.reshape(-1)).to(device), columns


def poisson_masses(rate: float, columns: int) -> npt.NDArray[np.float64]:
    """Probability of the counts 0 … columns - 1 at each of the 256 levels, (256, columns).

    The last count stands for all larger ones; it is at least `rate`, so they all come out white.
    """
    mean = np.arange(256)[:, None] * (rate / 255)
    counts = np.arange(columns)
    log_factorial = np.array([math.lgamma(count + 1) for count in counts])
    with np.errstate(divide="ignore", invalid="ignore"):
        masses = np.exp(counts * np.log(mean) - mean - log_factorial)
    masses[0] = counts == 0
    masses[:, -1] = 0
    masses[:, -1] = np.clip(1 - masses.sum(axis=1), 0, 1)
    return np.asarray(masses / masses.sum(axis=1, keepdims=True))


def alias_tables(
    masses: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Walker's tables for each row of (rows, columns): threshold in 0–1 and alias, same shape.

    Column j gives j with probability threshold[j], else alias[j]. Every step fills the emptiest
    column from the fullest, in all rows at once.
    """
    rows, columns = masses.shape
    left = masses * columns
    threshold = np.ones_like(left)
    alias = np.tile(np.arange(columns), (rows, 1))
    every = np.arange(rows)
    open_ = np.ones_like(left, dtype=bool)
    for _ in range(columns - 1):
        poor = np.where(open_, left, np.inf).argmin(axis=1)
        rich = np.where(open_, left, -np.inf).argmax(axis=1)
        threshold[every, poor] = np.clip(left[every, poor], 0, 1)
        alias[every, poor] = rich
        left[every, rich] -= 1 - threshold[every, poor]
        open_[every, poor] = False
    return threshold, alias
