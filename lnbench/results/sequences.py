"""Intervals that hold at whatever moment one looks, of a mean over a set whose images come in random order.

An interval for a fixed number of images fails more often than it says when one stops on it. A confidence
sequence holds at all moments at once: with probability 1 - level over the orders, no interval of the sequence
ever misses the mean over the whole set. This one is made of bets (Waudby-Smith & Ramdas, "Estimating means of
bounded random variables by betting", arXiv 2010.09686, §5; for sampling without replacement also 2006.04347):

    K_t(m) = Π_{i ≤ t} (1 + b_i · (x_i − m_i)),     m_i = (N·m − Σ_{j < i} x_j) / (N − i + 1)

If m is the mean of all N values, m_i is the mean of those left before image i; the capital K_t(m) of
somebody who bets b_i on more, decided before x_i is seen, then is a martingale from 1, and ever passes
2 / level with probability level / 2 at most (Ville's inequality). A candidate m against which it does pass is
out; another capital bets on less. Bets are held below 0.75 / m_i, so that no factor gets below a quarter. The
bound is nearly reached, so a tenth of the level is kept back: what is asked for holds with room to spare.

Three capitals are averaged, each with the bets that are best where the interval is asked for after so many
images (2,000, 8,000, 32,000) of a set without end:

    b_i = N / (N − i + 1) · √(2 · ln 40 / (T · s²)),     s² = (1/4 + Σ_{j < i} (x_j − mean_j)²) / i

The factor in front is that by which the mean of what is left departs further from m the less is left. How few
images that takes beside other bets and the fixed number: benchmarks/sequences.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lnbench.results.schema import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEVEL = 0.05
_SPENT = 0.9  # of a level
LOOK = 16  # images between two moments at which the capital is looked at: one logarithm for all of them
_TUNED = (2_000.0, 8_000.0, 32_000.0)
_MOST = 0.75  # of what is left of a capital that a bet may lose
_HALVINGS = 40


def interval(values: Array, population: int, level: float = LEVEL) -> Interval:
    """Where the mean over all `population` values lies, from the first ones of a random order: float (t,).

    Values are in 0–1. The intersection of the intervals at all moments so far; the mean itself once all
    values are there.
    """
    if len(values) == population:
        mean = float(values.mean())
        return mean, mean
    low, high = lower_bound(values, population, level), 1 - lower_bound(1 - values, population, level)
    return min(low, high), max(low, high)  # crossed with probability `level` at most


def difference_interval(values: Array, population: int, level: float = LEVEL) -> Interval:
    """As `interval`, of paired differences in −1 to 1."""
    low, high = interval((1 + values) / 2, population, level)
    return 2 * low - 1, 2 * high - 1


def refuting(level: float) -> float:
    """The logarithm of the capital that refutes a mean, on either side of an interval of this level."""
    return math.log(2 / (_SPENT * level))


def lower_bound(values: Array, population: int, level: float) -> float:
    """The least mean that no capital betting on more has refuted; values (t,)."""
    total = float(values.sum())
    low, high = total / population, (total + population - len(values)) / population
    own, passed = bets(values, population), refuting(level)

    def refuted(mean: float) -> bool:
        return float(log_capital(values, population, mean, own).max()) >= passed

    if not len(values) or not refuted(low):
        return low
    # The capital falls with m, and so does the highest so far: one m parts what is out from what is not.
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def bets(values: Array, population: int) -> Array:
    """What is bet on each value being more than expected, from those before it: (…, t) → (…, t, bets)."""
    import numpy as np

    number = np.arange(1, values.shape[-1] + 1)
    means = (0.5 + np.cumsum(values, -1)) / (number + 1)
    spread = 0.25 + np.cumsum((values - means) ** 2, -1)
    first = np.full((*values.shape[:-1], 1), 0.25)
    variance = np.concatenate([first, spread[..., :-1] / number[1:]], -1)
    grown = population / (population - number + 1)
    scale = np.sqrt(2 * math.log(2 / LEVEL) / np.asarray(_TUNED))
    found: Array = (grown / np.sqrt(variance))[..., None] * scale
    return found


def log_capital(values: Array, population: int, mean: float | Array, own: Array | None = None) -> Array:
    """Logarithm of the capital against `mean`, every `LOOK` values and at the last: (…, t) → (…, looks).

    `mean` is a number or (…, 1); `own` is `bets(values, population)`. Infinite where the values so far are
    too many for that mean.
    """
    import numpy as np

    own = bets(values, population) if own is None else own
    seen = np.cumsum(values, -1) - values
    left = population - np.arange(values.shape[-1])
    expected = (population * np.asarray(mean) - seen) / left  # of the next value, were `mean` true
    impossible = expected < -1e-9
    ahead = np.maximum(expected, 1e-12)[..., None]
    factors = np.minimum(own, _MOST / ahead)
    factors *= values[..., None] - ahead
    factors += 1
    starts = np.arange(0, values.shape[-1], LOOK)
    grown = np.log(np.multiply.reduceat(factors, starts, -2)).cumsum(-2)  # (…, looks, bets)
    best = grown.max(-1)
    capital: Array = best + np.log(np.exp(grown - best[..., None]).mean(-1))
    never = np.logical_or.accumulate(np.logical_or.reduceat(impossible, starts, -1), -1)
    return np.where(never, np.inf, capital)
