"""`blend`: stored and new statistics mixed (Schneider et al., arXiv 2006.16971)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from lnbench.norm import stats
from lnbench.norm.modes.registry import (
    Forward,
    Option,
    Prediction,
    Setting,
    Variance,
    Views,
    answer,
    mode,
)
from lnbench.norm.views import beside_views, image_statistics

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Prior = Annotated[float, Option("weight of the stored statistics, in images", least=0)]
Scope = Annotated[Literal["image", "batch"], Option("whose statistics are mixed in")]


def look(forward: Forward, pixels: Tensor, state: State, groups: int, *, views: Views = None) -> Prediction:
    """One pass over the images beside their views."""
    return answer(beside_views(forward, views)(pixels))


def _refuse(setting: Setting | None, *, scope: Scope, views: Views) -> str | None:
    return "views are of single images; leave out scope=batch" if views and scope == "batch" else None


@mode(
    "blend",
    unit=lambda *, scope: scope,
    predict=look,
    predict_when=lambda *, views: views is not None,
    passes=lambda groups, *, views: 1 + (views or 0),
    refuse=_refuse,
)
def blend(
    x: Tensor,
    layer: Layer,
    state: State,
    *,
    N: Prior = 16.0,
    scope: Scope = "image",
    views: Views = None,
    var: Variance = "biased",
) -> Tensor:
    """Stored statistics, weight N, mixed with the image's (or scope=batch the batch's).

    N = 16 for single images is the choice of Schneider et al. and of MEMO.
    """
    if scope == "image":
        target, images = image_statistics(x, views, var), 1
    else:
        images = x.shape[0]
        mean, variance = stats.batch_statistics(x)
        target = stats.corrected((mean[0], variance[0]), images * math.prod(x.shape[2:]), var)
    return layer.normalize(x, stats.blend(layer.statistics, target, N, images), state)
