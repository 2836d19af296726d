"""Two modes that adapt along a stream, each one function, for tests only: importing this registers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch

from lnbench.norm.modes.registry import Forward, Option, Prediction, answer, mode
from lnbench.norm.stats import batch_statistics

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Share = Annotated[float, Option("weight of a new batch", least=0)]


@mode("test-average", unit="stream")
def average(x: Tensor, layer: Layer, state: State, *, share: Share = 0.3) -> Tensor:
    """A running average of the batches' statistics."""
    mean, var = batch_statistics(x)
    old = state.statistics.get(layer.name, layer.statistics)
    state.statistics[layer.name] = old[0].lerp(mean[0], share), old[1].lerp(var[0], share)
    return layer.normalize(x, state.statistics[layer.name], state)


def _step(forward: Forward, pixels: Tensor, state: State, groups: int, *, rate: Share) -> Prediction:
    with torch.enable_grad():
        logits = forward(pixels)
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        weights = [values for pair in state.affine.values() for values in pair]
        gradients = torch.autograd.grad(entropy, weights)
    for values, gradient in zip(weights, gradients, strict=True):
        values.data.sub_(rate * gradient)
    return answer(logits.detach())


@mode("test-steps", unit="stream", predict=_step)
def steps(x: Tensor, layer: Layer, state: State, *, rate: Share = 0.05) -> Tensor:
    """Gradient steps on copies of weight and bias that make the predictions surer."""
    if layer.name not in state.affine:
        state.affine[layer.name] = tuple(
            values.clone().requires_grad_() for values in (layer.weights, layer.biases)
        )
    return layer.normalize_batch(x, state)
