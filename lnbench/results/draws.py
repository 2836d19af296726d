"""Draws of a mode: which of them answers for which image, and how much they add to an interval.

A mode that looks at n drawn images gives another figure for n others. With several draws, each answers for
its own share of the images, so that shares differ by their images and by their draws alike: from how they
differ follows how the figure would vary if both were drawn again. The standard error is that of clusters,
a share being a cluster, with Student's t at draws - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lnbench.results.schema import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lnbench.hashing import Indices


def answering(images: int, draws: int) -> Indices:
    """For each of `images` images of a set the draw that answers for it, 0 … draws-1, int64 (images,).

    Dealt at random and evenly, the same for every seed and condition: an image belongs to one share of the
    set, and two runs on the same images to the same shares.
    """
    import numpy as np

    from lnbench.hashing import ANSWER, order

    shares = np.empty(images, np.int64)
    shares[order(images, 0, ANSWER)] = np.arange(images) % draws
    return shares


def shares(correct: NDArray[np.bool_], draws: int) -> tuple[tuple[int, int], ...]:
    """Images and right ones of each draw's share; `correct` is bool (N,)."""
    import numpy as np

    of = answering(len(correct), draws)
    counts = (np.bincount(of, minlength=draws), np.bincount(of[correct], minlength=draws))
    return tuple((int(images), int(right)) for images, right in zip(*counts, strict=True))


def share_sums(values: NDArray[np.float64], draws: int) -> list[float]:
    """Of each share, Σ (value - mean of all values); values (N,)."""
    import numpy as np

    centred = values - values.mean()
    return np.bincount(answering(len(values), draws), centred, draws).tolist()  # type: ignore[no-any-return]


def standard_error(sums: list[float], images: int) -> float:
    """Of a mean over images, from what each share's sum departs from its due (Σ = 0)."""
    count = len(sums)
    return math.sqrt(count / (count - 1) * math.fsum(value * value for value in sums)) / images


def widened(interval: Interval, mean: float, error: float, draws: int) -> Interval:
    """An interval over images alone, as wide as the draws make it: 95 %, never narrower than it was."""
    half = quantile(draws - 1) * error
    return min(interval[0], mean - half), max(interval[1], mean + half)


def p_value(mean: float, error: float, draws: int) -> float:
    """Two-sided, of a mean difference with that standard error over the shares."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 1 - within(math.atan2(abs(mean) / error, math.sqrt(draws - 1)), draws - 1)


def quantile(freedom: int, share: float = 0.95) -> float:
    """The t that |T| stays under in that share of cases."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < share else (low, middle)
    return math.tan(high) * math.sqrt(freedom)


def within(angle: float, freedom: int) -> float:
    """P(|T| ≤ √freedom · tan angle) of Student's t: Abramowitz & Stegun 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
