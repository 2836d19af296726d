"""`tent`: weights and biases that make predictions surer (TENT, Wang et al., arXiv 2006.10726)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.norm import gradient
from lnbench.norm.modes import learning
from lnbench.norm.modes.learning import Loss, Optimizer, Rate, Reset, Steps
from lnbench.norm.modes.registry import Forward, Prediction, Setting, answer, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State


def adapt(
    forward: Forward,
    pixels: Tensor,
    state: State,
    groups: int,
    *,
    lr: Rate = 0.00025,
    optimizer: Optimizer = "sgd",
    steps: Steps = 1,
    loss: Loss = "entropy",
    reset: Reset = "never",
) -> Prediction:
    """Steps down the mean entropy of a batch; the answer is that from before the last one."""
    learning.next_batch(state, reset)
    for _ in range(steps):
        logits = gradient.step(forward, pixels, state, _mean_entropy, lr, optimizer, gradient.LOSSES[loss])
    state.counts["samples"] += len(pixels)
    return answer(logits)


def _mean_entropy(logits: Tensor, entropies: Tensor) -> Tensor:
    return entropies.mean()


def _refuse(setting: Setting | None, *, steps: Steps, reset: Reset) -> str | None:
    # Of several steps on a batch, the later ones answer with what the earlier ones learned.
    return learning.refuse(setting, reset="never" if steps > 1 else reset)


@mode(
    "tent",
    unit="stream",
    begin=learning.next_condition,
    predict=adapt,
    passes=lambda groups, *, steps: steps,
    refuse=_refuse,
    learns=lambda name: True,
)
def tent(x: Tensor, layer: Layer, state: State) -> Tensor:
    """The batch's statistics; weight and bias step down the entropy of predictions."""
    return layer.normalize_batch(x, state)
