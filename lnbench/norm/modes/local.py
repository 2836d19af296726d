"""`local`: the statistics of each single image (LocalNorm, Yin et al., arXiv 1902.06550)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from lnbench.lazy import F, torch
from lnbench.norm.modes.registry import Forward, Option, Prediction, Setting, Variance, Views, answer, mode
from lnbench.norm.views import beside_views, image_statistics

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Vote = Annotated[Literal["majority", "mean"], Option("how LocalNorm's passes, one for each group, decide")]
Group = Annotated[int | None, Option("the one group of LocalNorm layers to use, from 0", least=0)]


def vote(
    forward: Forward,
    pixels: Tensor,
    state: State,
    groups: int,
    *,
    vote: Vote = "majority",
    group: Group = None,
    views: Views = None,
) -> Prediction:
    """One pass for each group of LocalNorm layers, or for the one that is named."""
    forward = beside_views(forward, views)
    if groups == 1 and group is None:
        return answer(forward(pixels))
    outputs = []
    for number in range(groups) if group is None else (group,):
        state.group = number
        outputs.append(forward(pixels))
    return combine(torch.stack(outputs), vote)


def combine(logits: Tensor, vote: str) -> Prediction:
    """Combine the logits (P, B, classes) of P passes into one prediction for each image.

    Log-probabilities are those of the mean over passes of the probabilities; the predicted class is the one
    that most passes vote for (ties to the lowest class, as the authors of LocalNorm do), or with `mean` the
    class of highest mean probability.
    """
    if logits.shape[0] == 1:
        return answer(logits[0])
    passes, _, classes = logits.shape
    log_probs = F.log_softmax(logits, dim=-1).logsumexp(0) - math.log(passes)
    if vote == "mean":
        return Prediction(log_probs, log_probs.argmax(-1))
    votes = F.one_hot(logits.argmax(-1), classes).sum(0)  # (B, classes)
    # argmax may return any of several maxima; the score of a class falls with its number.
    order = torch.arange(classes, 0, -1, device=logits.device)
    return Prediction(log_probs, (votes * (classes + 1) + order).argmax(-1))


def _refuse(setting: Setting | None, *, vote: Vote, group: Group) -> str | None:
    if group is not None and vote != "majority":
        return "one group has no vote; give vote=… or group=…, not both"
    if group is not None and setting is not None and group >= setting.groups:
        return f"there is no group {group}; the network's layers have {setting.groups}, numbered from 0"
    return None


def _note(setting: Setting) -> str | None:
    kept = len(setting.layers) - len(setting.local)
    if not setting.local or not kept:
        return None
    return (
        f"{kept} of {len(setting.layers)} layers are not LocalNorm; mode local gives these single images'"
        " statistics too, local:layers=localnorm leaves them the stored ones"
    )


@mode(
    "local",
    predict=vote,
    passes=lambda groups, *, group, views: (groups if group is None else 1) * (1 + (views or 0)),
    refuse=_refuse,
    note=_note,
)
def local(x: Tensor, layer: Layer, state: State, *, views: Views = None, var: Variance = "biased") -> Tensor:
    """Statistics of each single image; LocalNorm networks make a pass for each group."""
    if views or (var == "unbiased" and math.prod(x.shape[2:]) > 1):
        return layer.normalize(x, image_statistics(x, views, var), state)
    return layer.normalize_images(x, state)
