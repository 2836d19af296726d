"""Do two random corruptions have the same distribution? Four measures, each beside what chance gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

BANDS = 8  # rings of spatial frequency


def compare(images: np.ndarray, own: np.ndarray, draws: list[np.ndarray]) -> dict[str, object]:
    """Compare `own` with every one of `draws`, and these among each other; uint8 (B, H, W, 3) each.

    For each measure [own against a draw, in the mean over the draws; what chance would give]. For mean and
    spread, which are single numbers, chance is the expected absolute difference of two draws, from how much
    each image's own figure differs between draws; for the others it is the mean over pairs of draws.
    """
    found: dict[str, object] = {"images": len(images)}
    pairs = list(itertools.combinations(draws, 2))
    for name, figure in FIGURES.items():
        by_image = [figure(images, one) for one in (own, *draws)]  # (B,) each
        against = [abs(float((by_image[0] - draw).mean())) for draw in by_image[1:]]
        spreads = [
            float((first - second).std(ddof=1)) for first, second in itertools.combinations(by_image[1:], 2)
        ]
        chance = math.sqrt(2 / math.pi / len(images)) * float(np.mean(spreads))
        found[name] = [round(float(np.mean(against)), 6), round(chance, 6)]
    for name, measure in MEASURES.items():
        against = [measure(images, own, draw) for draw in draws]
        among = [measure(images, *pair) for pair in pairs]
        found[name] = [round(float(np.mean(against)), 6), round(float(np.mean(among)), 6)]
    return found


def mean(images: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Mean level of each image, (B,)."""
    return corrupted.mean(axis=(1, 2, 3), dtype=np.float64)


def spread(images: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Root mean square of what the corruption changed in each image, in levels, (B,)."""
    return np.sqrt((change(images, corrupted) ** 2).mean(axis=(1, 2, 3), dtype=np.float64))


def spectrum(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean over rings of frequency of |log of the ratio of powers| of what the corruption changed."""
    ratio = np.log(radial_power(change(images, first)) / radial_power(change(images, second)))
    return float(np.abs(ratio).mean())


def histogram(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Total variation distance of the histograms of the 256 levels, 0–1."""
    shares = [np.bincount(part.ravel(), minlength=256) / part.size for part in (first, second)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"mean": mean, "spread": spread}
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
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
