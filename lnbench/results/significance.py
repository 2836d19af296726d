"""Paired tests: is a difference between two runs on the same images more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lnbench.results.schema import Interval
from lnbench.results.scores import Z95

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLIPS = 20_000  # draws of the sign-flip test; the smallest p it can give is 1 in 20,001
SEED = 20_190_206  # fixed: the same comparison always ends the same way
SLICE = 250  # flips drawn at a time, to bound memory


def at_least(right: int, images: int, rate: float) -> float:
    """Probability that a binomial of `images` tosses with `rate`, 0 < rate < 1, gives `right` or more."""
    if right <= 0:
        return 1.0
    import numpy as np

    counts = np.arange(1, images + 1)
    logs = np.concatenate(([0.0], np.cumsum(np.log((images - counts + 1) / counts))))  # log C(images, k)
    k = np.arange(right, images + 1)
    return min(1.0, math.fsum(np.exp(logs[right:] + k * math.log(rate) + (images - k) * math.log1p(-rate))))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided McNemar p-value: `lost` images right before and wrong now, `gained` the reverse.

    Under no change each of the discordant images is as likely lost as gained, so the smaller count is a
    binomial with p = 1/2; twice its tail, at most 1.
    """
    discordant, smaller = lost + gained, min(lost, gained)
    if discordant == 0 or lost == gained:
        return 1.0
    import numpy as np

    # log C(n, k) by the ratio of neighbours, so that thousands of images neither overflow nor lose digits.
    steps = np.arange(1, smaller + 1)
    logs = np.concatenate(([0.0], np.cumsum(np.log((discordant - steps + 1) / steps))))
    return min(1.0, 2 * math.fsum(np.exp(logs - discordant * math.log(2))))


def mcnemar_interval(lost: int, gained: int, images: int) -> Interval:
    """95 % interval of the change in accuracy of paired rates (Bonett & Price 2012), as fractions.

    One image is added to each discordant count, which keeps the coverage near 95 % where few images
    changed, and the interval open where none did.
    """
    up, down = (gained + 1) / (images + 2), (lost + 1) / (images + 2)
    half = Z95 * math.sqrt(max(0.0, up + down - (up - down) ** 2) / (images + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def sign_flip(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of a mean of paired differences, one for each image, shape (N,).

    Under no change the two runs are interchangeable on every image, so the sign of its difference is a
    coin toss; the p-value is the share of `FLIPS` seeded tosses (the data counted among them) whose sum
    is as far from zero. One image stays one unit, however many conditions its difference sums over: they
    are correlated. With a single condition this is McNemar's test.
    """
    import numpy as np

    size = np.abs(differences[differences != 0])
    if len(size) == 0:
        return 1.0
    # Sums that are equal on paper differ in the last bits; they must count as equal.
    observed = abs(float(differences.sum())) - 1e-9 * float(size.sum())
    generator = np.random.Generator(np.random.PCG64(SEED))
    hits = 1
    for _ in range(FLIPS // SLICE):
        coins = generator.integers(0, 256, (SLICE, (len(size) + 7) // 8), np.uint8)
        heads = np.unpackbits(coins, axis=1, count=len(size)).astype(np.float64)  # (SLICE, N)
        sums = 2 * (heads @ size) - size.sum()  # Σ ±size = 2 Σ over heads − Σ
        hits += int((np.abs(sums) >= observed).sum())
    return hits / (FLIPS + 1)


def mean_interval(differences: NDArray[np.float64]) -> Interval:
    """95 % interval of a mean of paired differences over images (N,), normal approximation."""
    count = len(differences)
    mean = float(differences.mean())
    half = Z95 * float(differences.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    return mean - half, mean + half


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: reject where ≤ α and at most α of the families see a false alarm."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted
