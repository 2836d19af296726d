"""`ema`: a running average of the batches' statistics along the stream; nothing but statistics changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from lnbench.norm import stats
from lnbench.norm.modes.registry import Option, Setting, Variance, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Weight = Annotated[float, Option("weight of a new batch, 0 to 1", least=0)]
Start = Annotated[Literal["stored", "first"], Option("the average before the first batch")]
Use = Annotated[Literal["after", "before"], Option("normalize with the average after or before this batch")]
Decay = Annotated[float | None, Option("factor by which m shrinks with every batch, 0 to 1", least=0)]

_PASSES = "passes"  # in State.extra: how many each layer has seen
_FLOOR = 0.005  # what DUA adds to the weight, however far it has shrunk


def weight(number: int, m: float, decay: float | None) -> float:
    """The weight of batch `number`, from 1: m, or by the schedule of DUA m·decay^number + 0.005."""
    return m if decay is None else min(1.0, m * decay**number + _FLOOR)


def _refuse(setting: Setting | None, *, m: Weight, decay: Decay) -> str | None:
    for name, value in (("m", m), ("decay", decay)):
        if value is not None and value > 1:
            return f"{name} must be a number from 0 to 1, not {value:g}"
    return None


@mode("ema", unit="stream", refuse=_refuse)
def ema(
    x: Tensor,
    layer: Layer,
    state: State,
    *,
    m: Weight = 0.05,
    start: Start = "stored",
    use: Use = "after",
    decay: Decay = None,
    var: Variance = "biased",
) -> Tensor:
    """A running average of the batches' statistics, from the stored ones on.

    m = 0.05 is the choice of RoTTA (Yuan et al., arXiv 2303.13899) and DELTA (Zhao et al., arXiv 2301.13018);
    decay = 0.94 with m = 0.1 is the schedule of DUA (Mirza et al., arXiv 2112.00463).
    """
    mean, variance = stats.batch_statistics(x)
    new = stats.corrected((mean[0], variance[0]), x.numel() // x.shape[1], var)
    passes = state.extra.setdefault(_PASSES, {})
    passes[layer.name] = number = passes.get(layer.name, 0) + 1
    # A first batch with nothing before it is its own average.
    old = state.statistics.get(layer.name, layer.statistics if start == "stored" else new)
    share = weight(number, m, decay)
    state.statistics[layer.name] = old[0].lerp(new[0], share), old[1].lerp(new[1], share)
    return layer.normalize(x, state.statistics[layer.name] if use == "after" else old, state)
