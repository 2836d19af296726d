"""Gradient steps along a stream, on the copies of weights and biases in `State.affine`.

What they keep in State beside the copies is tensors and numbers alone, by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lnbench.errors import LnbenchError
from lnbench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.modes.registry import Forward
    from lnbench.norm.state import State

MOMENTUM = 0.9
BETAS, EPS = (0.9, 0.999), 1e-8  # of Adam
_LEARNED = "learned"  # in State.extra: all that is forgotten at a reset

Measure = Callable[["Tensor"], "Tensor"]
"""logits (B, classes) → how unsure each prediction is (B,)."""
Objective = Callable[["Tensor", "Tensor"], "Tensor | None"]
"""(logits (B, classes), how unsure they are (B,)) → the loss, or None where there is none."""


class Diverged(LnbenchError):
    """The loss is not a number any more."""


def entropy(logits: Tensor) -> Tensor:
    """Entropy (B,) in nats of the softmax of logits (B, classes)."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def opinion(logits: Tensor) -> Tensor:
    """Entropy (B,) in nats where a class more, of logit ln(classes), stands for not knowing.

    COME's (arXiv 2410.10894); the length of an image's logits takes no gradient, so that it cannot grow surer
    by larger logits alone. Theirs adds 1e-7 to every probability inside the logarithm.
    """
    length = logits.norm(dim=1, keepdim=True).clamp_min(1e-12)
    directed = logits / length * length.detach()
    unknown = logits.new_full((len(logits), 1), math.log(logits.shape[1]))
    return entropy(torch.cat([directed, unknown], 1))


LOSSES: dict[str, Measure] = {"entropy": entropy, "come": opinion}


def learned(state: State) -> dict[str, Any]:
    """What a mode has learned beside weights and biases, by name; empty after a reset."""
    return state.extra.setdefault(_LEARNED, {})  # type: ignore[no-any-return]


def weights(state: State) -> dict[str, Tensor]:
    """The copies that are learned, by `layer.weight` and `layer.bias`."""
    return {
        f"{layer}.{kind}": values
        for layer, pair in state.affine.items()
        for kind, values in zip(("weight", "bias"), pair, strict=True)
    }


def forget(state: State) -> None:
    """Go back to the network's own weights; the next use of a layer copies them anew."""
    state.affine.clear()
    learned(state).clear()


def step(
    forward: Forward,
    pixels: Tensor,
    state: State,
    objective: Objective,
    rate: float,
    optimizer: str,
    measure: Measure = entropy,
) -> Tensor:
    """One step on a batch; its logits (B, classes) are those from before the step.

    Raises Diverged where the loss is not finite.
    """
    logits, found = gradients(forward, pixels, state, objective, measure)
    if found:
        descend(state, found, rate, optimizer)
    return logits


def gradients(
    forward: Forward, pixels: Tensor, state: State, objective: Objective, measure: Measure = entropy
) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits of a batch and the loss's gradient for each weight by name; none where there is no loss."""
    with torch.enable_grad():
        logits = forward(pixels)
        entropies = measure(logits)
        loss = objective(logits, entropies)
        # What is learned from may be a part of the batch: a network that broke answers nowhere with a number.
        if not bool(torch.isfinite(entropies.sum() if loss is None else entropies.sum() + loss)):
            raise Diverged(
                f"the loss is not finite after {state.counts['updates']} steps: use a smaller lr, a larger "
                "--batch-size or a reset"
            )
        named = weights(state)
        if loss is None or not named:
            return logits.detach(), {}
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    used = {name: one for name, one in zip(named, found, strict=True) if one is not None}
    return logits.detach(), used


def descend(state: State, found: dict[str, Tensor], rate: float, optimizer: str) -> None:
    """Change the copies by their gradients, as torch.optim's SGD (momentum 0.9) or Adam would."""
    memory, named = learned(state), weights(state)
    state.counts["updates"] += 1
    memory["steps"] = count = memory.get("steps", 0) + 1
    momenta, squares = memory.setdefault("momenta", {}), memory.setdefault("squares", {})
    # The same operations in the same order as there, so that float32 rounds alike.
    with torch.no_grad():
        for name, gradient in found.items():
            if optimizer == "sgd":
                momenta[name] = (
                    gradient if name not in momenta else momenta[name].mul_(MOMENTUM).add_(gradient)
                )
                named[name].add_(momenta[name], alpha=-rate)
                continue
            first = momenta.setdefault(name, torch.zeros_like(gradient)).lerp_(gradient, 1 - BETAS[0])
            second = squares.setdefault(name, torch.zeros_like(gradient)).mul_(BETAS[1])
            second.addcmul_(gradient, gradient, value=1 - BETAS[1])
            spread = (second.sqrt() / (1 - BETAS[1] ** count) ** 0.5).add_(EPS)
            named[name].addcdiv_(first, spread, value=-rate / (1 - BETAS[0] ** count))
