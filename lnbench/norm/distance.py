"""How far what a layer observes lies from what it stored, as one number."""

from __future__ import annotations

from lnbench.norm.wrap import Observation


def distance(seen: Observation) -> float:
    """Mean over channels of |μ − μs| / σs + |log(σ / σs)|: 0 where the statistics agree.

    A shift of every channel by one stored standard deviation gives 1; halving or doubling every standard
    deviation gives 0.69.
    """
    scale = seen.stored_var.clamp_min(1e-12).sqrt()
    moved = (seen.observed_mean - seen.stored_mean).abs() / scale
    spread = (seen.observed_var.clamp_min(1e-12).sqrt() / scale).log().abs()
    return float((moved + spread).mean())
