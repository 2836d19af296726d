"""`blend`: stored and new statistics mixed (Schneider et al., arXiv 2006.16971)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from lnbench.norm import stats
from lnbench.norm.modes.registry import Option, Variance, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Prior = Annotated[float, Option("weight of the stored statistics, in images", least=0)]
Scope = Annotated[Literal["image", "batch"], Option("whose statistics are mixed in")]


@mode("blend", unit=lambda *, scope: scope)
def blend(
    x: Tensor,
    layer: Layer,
    state: State,
    *,
    N: Prior = 16.0,
    scope: Scope = "image",
    var: Variance = "biased",
) -> Tensor:
    """Stored statistics, weight N, mixed with the image's (or scope=batch the batch's).

    N = 16 for single images is the choice of Schneider et al. and of MEMO.
    """
    if scope == "image":
        target, images = stats.image_statistics(x), 1
    else:
        mean, variance = stats.batch_statistics(x)
        target, images = (mean[0], variance[0]), x.shape[0]
    target = stats.corrected(target, images * math.prod(x.shape[2:]), var)
    return layer.normalize(x, stats.blend(layer.statistics, target, N, images), state)
