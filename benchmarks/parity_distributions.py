"""Do two random corruptions have the same distribution? Four measures, each beside what chance gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

BANDS = 8  # rings of spatial frequency


def compare(images: np.ndarray, own: np.ndarray, draws: list[np.ndarray]) -> dict[str, object]:
    """Compare `own` with every one of `draws`, and these among each other; uint8 (B, H, W, 3) each.

    For each measure [mean over the draws of own against a draw, mean over pairs of draws].
    """
    found: dict[str, object] = {"images": len(images)}
    for name, measure in MEASURES.items():
        against = [measure(images, own, draw) for draw in draws]
        chance = [measure(images, *pair) for pair in itertools.combinations(draws, 2)]
        found[name] = [round(float(np.mean(against)), 6), round(float(np.mean(chance)), 6)]
    return found


def mean(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Difference of the mean level of all pixels, in levels."""
    return abs(float(first.mean() - second.mean()))


def spread(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Difference of the standard deviation of what the corruption changed, in levels."""
    return abs(float(change(images, first).std() - change(images, second).std()))


def spectrum(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean over rings of frequency of |log of the ratio of powers| of what the corruption changed."""
    ratio = np.log(radial_power(change(images, first)) / radial_power(change(images, second)))
    return float(np.abs(ratio).mean())


def histogram(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Total variation distance of the histograms of the 256 levels, 0–1."""
    shares = [np.bincount(part.ravel(), minlength=256) / part.size for part in (first, second)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "mean": mean,
    "spread": spread,
    "spectrum": spectrum,
    "histogram": histogram,
}


def change(images: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Corrupted less clean, float32 (B, H, W, 3)."""
    return corrupted.astype(np.float32) - images


def radial_power(planes: np.ndarray) -> np.ndarray:
    """Mean power of (B, H, W, 3) in rings of spatial frequency up to Nyquist, (BANDS,), none zero."""
    power = np.zeros(planes.shape[1:3])
    for image in planes:  # one by one, to bound memory
        power += (np.abs(np.fft.fft2(image, axes=(0, 1))) ** 2).sum(axis=2)
    down, across = (np.fft.fftfreq(side) for side in planes.shape[1:3])
    radius = np.hypot(down[:, None], across)
    ring = np.minimum((radius / 0.5 * BANDS).astype(int), BANDS)
    sums = np.bincount(ring.ravel(), power.ravel(), BANDS + 1)[:BANDS]
    return sums / np.bincount(ring.ravel(), minlength=BANDS + 1)[:BANDS] + 1e-9
