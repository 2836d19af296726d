"""`adapt`: the statistics of a few images of each condition, then fixed (Benz et al., arXiv 2010.03630)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

from lnbench.lazy import torch
from lnbench.norm import stats
from lnbench.norm.modes.registry import FirstImages, Forward, Option, Setting, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Samples = Annotated[int, Option("images whose statistics are taken", least=1)]

_SEEN = "seen"  # in State.extra while the images are drawn: statistics of each pass through each layer


def draw(forward: Forward, images: FirstImages, state: State, *, n: Samples) -> None:
    """Keep each layer's statistics of n images of the condition.

    Each layer normalizes with them already while they are taken, so the layers behind it see what they will
    see later. A layer that the network uses several times keeps the average.
    """
    state.extra[_SEEN] = defaultdict(list)
    forward(images(n))
    for name, found in state.extra.pop(_SEEN).items():
        means, variances = zip(*found, strict=True)
        state.statistics[name] = torch.stack(means).mean(0), torch.stack(variances).mean(0)


def _refuse(setting: Setting | None, *, n: Samples) -> str | None:
    if setting is not None and n > setting.images:
        return f"the data has only {setting.images} images"
    return None


@mode("adapt", begin=draw, images=lambda *, n: n, refuse=_refuse)
def adapt(x: Tensor, layer: Layer, state: State, *, n: Samples = 32) -> Tensor:
    """Statistics of n images of each condition, then fixed."""
    if _SEEN not in state.extra:
        return layer.normalize(x, state.statistics[layer.name], state)
    mean, var = stats.batch_statistics(x)
    state.extra[_SEEN][layer.name].append((mean[0], var[0]))
    return layer.normalize(x, (mean[0], var[0]), state)
