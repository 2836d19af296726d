"""`eta`: as `tent`, from sure predictions that are unlike the average one (Niu et al., arXiv 2204.02610)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from lnbench.norm import gradient, reliable
from lnbench.norm.modes import learning
from lnbench.norm.modes.learning import Loss, Optimizer, Rate, Reset
from lnbench.norm.modes.registry import Forward, Option, Prediction, answer, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Margin = Annotated[float, Option("entropy below which a prediction is reliable, in ln(classes)", least=0)]
Likeness = Annotated[float, Option("cosine with the average prediction below which one is new", least=0)]


def adapt(
    forward: Forward,
    pixels: Tensor,
    state: State,
    groups: int,
    *,
    lr: Rate = 0.00025,
    optimizer: Optimizer = "sgd",
    margin: Margin = 0.4,
    d: Likeness = 0.05,
    loss: Loss = "entropy",
    reset: Reset = "never",
) -> Prediction:
    """A step on each batch in which there is something to learn from; the answer is that from before it."""
    learning.next_batch(state, reset)
    objective = reliable.weighted_entropy(state, margin, d)
    return answer(gradient.step(forward, pixels, state, objective, lr, optimizer, gradient.LOSSES[loss]))


@mode(
    "eta",
    unit="stream",
    begin=learning.next_condition,
    predict=adapt,
    refuse=learning.refuse,
    learns=lambda name: True,
)
def eta(x: Tensor, layer: Layer, state: State) -> Tensor:
    """As tent, learning from sure predictions that are unlike the average one."""
    return layer.normalize_batch(x, state)
