"""How far what a layer observes lies from what it stored, as one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lnbench.norm.wrap import Observation


def distance(seen: Observation) -> float:
    """See `distances`, of one layer."""
    return distances([seen])[0]


def distances(seen: Sequence[Observation]) -> list[float]:
    """How far each layer's are apart; on a GPU all are waited for at once."""
    return torch.stack([_distance(one) for one in seen]).tolist() if seen else []


def _distance(seen: Observation) -> Tensor:
    """Mean over channels of |μ − μs| / σs + |log(σ / σs)|: 0 where the statistics agree.

    A shift of every channel by one stored standard deviation gives 1; halving or doubling every standard
    deviation gives 0.69.
    """
    scale = seen.stored_var.clamp_min(1e-12).sqrt()
    moved = (seen.observed_mean - seen.stored_mean).abs() / scale
    spread = (seen.observed_var.clamp_min(1e-12).sqrt() / scale).log().abs()
    return (moved + spread).mean()


def pooled(seen: Sequence[Observation], images: Sequence[int]) -> Observation:
    """What one layer saw in several passes over so many `images` each, as if in one."""
    if len(seen) == 1:
        return seen[0]
    means = torch.stack([one.observed_mean for one in seen])
    variances = torch.stack([one.observed_var for one in seen])
    share = torch.tensor(images, dtype=means.dtype, device=means.device)[:, None] / sum(images)
    mean = (share * means).sum(0)
    return seen[0]._replace(
        observed_mean=mean, observed_var=(share * (variances + (means - mean) ** 2)).sum(0)
    )
