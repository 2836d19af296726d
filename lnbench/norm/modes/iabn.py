"""`iabn`: stored statistics, moved where an image's are too far for chance (NOTE, arXiv 2208.05117)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from lnbench.lazy import F, torch
from lnbench.norm import stats
from lnbench.norm.modes.registry import Option, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Tolerance = Annotated[float, Option("standard errors that are taken for chance", least=0)]

ZERO = "zero variances"  # in State.counts: channels of images whose variance came out as 0


@mode("iabn")
def iabn(x: Tensor, layer: Layer, state: State, *, k: Tolerance = 4.0) -> Tensor:
    """Stored statistics, moved towards the image's by what exceeds k standard errors.

    The standard errors are those of the mean and of the unbiased variance of L independent Gaussian values:
    √((σ²s + eps)/L) and (σ²s + eps)·√(2/(L − 1)), L the pixels of a map (Gong et al., arXiv 2208.05117;
    k = 4 in their scripts). A map of one pixel keeps the stored statistics.
    """
    pixels = math.prod(x.shape[2:])
    if pixels <= 1:
        return layer.normalize(x, layer.statistics, state)
    stored_mean, stored_var = layer.statistics
    mean, var = stats.image_statistics(x)  # (B, C)
    var = var * (pixels / (pixels - 1))
    spread = stored_var + layer.eps
    moved = stored_mean + _beyond(mean - stored_mean, k * (spread / pixels).sqrt())
    scaled = stored_var + _beyond(var - stored_var, k * math.sqrt(2 / (pixels - 1)) * spread)
    scaled = F.relu(scaled)
    if not torch.compiler.is_exporting():  # a network that is shipped keeps no record
        state.counts[ZERO] += (scaled == 0).sum()
    return layer.normalize(x, (moved, scaled), state)


def _beyond(difference: Tensor, bound: Tensor) -> Tensor:
    """What of a difference exceeds the bound, with its sign: soft shrinkage with a bound for each channel."""
    return F.relu(difference - bound) - F.relu(-difference - bound)
