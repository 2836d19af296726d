"""`adapt`: the statistics of a few images of each condition, then fixed (Benz et al., arXiv 2010.03630)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

from lnbench.errors import UsageError
from lnbench.lazy import torch
from lnbench.norm import stats
from lnbench.norm.modes.registry import DrawnImages, Forward, Option, Setting, Variance, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Samples = Annotated[int, Option("images whose statistics are taken", least=1)]
Draws = Annotated[int | None, Option("draws of n images, each for its share of the set", least=2)]

_SEEN = "seen"  # in State.extra while the images are drawn: statistics of each pass through each layer


def draw(forward: Forward, images: DrawnImages, state: State, *, n: Samples, draws: Draws) -> None:
    """Keep each layer's statistics of n images of the condition, or of each of several such draws.

    Each layer normalizes with them already while they are taken, so the layers behind it see what they will
    see later. A layer that the network uses several times keeps the average. Statistics are (C,), with
    several draws (draws, C).
    """
    kept = defaultdict(list)
    for number in range(draws or 1):
        state.extra[_SEEN] = defaultdict(list)
        forward(images(n, number))
        for name, found in state.extra.pop(_SEEN).items():
            means, variances = zip(*found, strict=True)
            kept[name].append((torch.stack(means).mean(0), torch.stack(variances).mean(0)))
    for name, found in kept.items():
        means, variances = zip(*found, strict=True)
        one = draws is None
        state.statistics[name] = found[0] if one else (torch.stack(means), torch.stack(variances))


def _refuse(setting: Setting | None, *, n: Samples, draws: Draws) -> str | None:
    if setting is not None and n > setting.images:
        return f"the data has only {setting.images} images"
    if setting is not None and draws is not None and draws > setting.images:
        return f"{draws} draws cannot share {setting.images} images"
    return None


@mode("adapt", begin=draw, images=lambda *, n: n, draws=lambda *, draws: draws or 1, refuse=_refuse)
def adapt(
    x: Tensor,
    layer: Layer,
    state: State,
    *,
    n: Samples = 32,
    draws: Draws = None,
    var: Variance = "biased",
) -> Tensor:
    """Statistics of n images of each condition, then fixed."""
    if _SEEN not in state.extra:
        mean, variance = state.statistics[layer.name]
        if state.draw is not None:
            if len(state.draw) != len(x):
                raise UsageError(
                    f"mode 'adapt': layer '{layer.name}' gets {len(x)} inputs for {len(state.draw)} images,"
                    " so each cannot have its own draw; leave draws=… out"
                )
            mean, variance = mean[state.draw], variance[state.draw]
        return layer.normalize(x, (mean, variance), state)
    mean, variance = stats.batch_statistics(x)
    found = stats.corrected((mean[0], variance[0]), x.numel() // x.shape[1], var)
    state.extra[_SEEN][layer.name].append(found)
    return layer.normalize(x, found, state)
