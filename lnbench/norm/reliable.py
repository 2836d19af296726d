"""What EATA (Niu et al., arXiv 2204.02610) learns from: sure predictions that are unlike the average one.

And what holds the weights back: how much each of them matters on images without corruption.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lnbench.lazy import F, torch
from lnbench.norm.gradient import Objective, gradients, learned, weights

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.modes.registry import Forward
    from lnbench.norm.state import State

_AVERAGE = "probabilities"  # in what is learned: the running mean of the probabilities that were learned from
_KEEP = 0.9  # of that mean at every batch
_FISHER, _ANCHOR = "fisher", "anchor"  # in State.extra: they outlive a reset
_FISHER_BATCH = 64


def bound(margin: float, classes: int) -> float:
    """The entropy margin·ln(classes) below which a prediction is taken for reliable."""
    return margin * math.log(classes)


def weighted_entropy(state: State, margin: float, d: float) -> Objective:
    """The mean of H·exp(E₀ − H) over predictions with H < E₀ whose cosine with the average one is below d.

    The average of the probabilities that were learned from moves by a tenth at every batch. Counts how many
    predictions were `reliable`, and how many `samples` were learned from.
    """

    def objective(logits: Tensor, entropies: Tensor) -> Tensor | None:
        limit, memory = bound(margin, logits.shape[1]), learned(state)
        probabilities, average = logits.detach().softmax(1), memory.get(_AVERAGE)
        chosen = entropies.detach() < limit
        state.counts["reliable"] += int(chosen.sum())
        if average is not None:
            chosen &= F.cosine_similarity(average[None], probabilities, dim=1).abs() < d
        count = int(chosen.sum())
        state.counts["samples"] += count
        if not count:
            return None
        new = probabilities[chosen].mean(0)
        memory[_AVERAGE] = new if average is None else _KEEP * average + (1 - _KEEP) * new
        kept = entropies[chosen]
        return (kept / (kept.detach() - limit).exp()).mean()

    return objective


def measure(forward: Forward, pixels: Tensor, state: State) -> None:
    """Keep the Fisher information of each weight on images (N, 3, H, W), and the weights as they are.

    As in the authors' code: the square of the gradient of a batch's *mean* cross-entropy with its own
    predictions, in the mean over batches of 64; so it depends on the size of those.
    """
    parts = torch.split(pixels, _FISHER_BATCH)
    sums: dict[str, Tensor] = {}
    for part in parts:
        _, found = gradients(forward, part, state, _own_labels)
        for name, gradient in found.items():
            sums[name] = sums.get(name, torch.zeros_like(gradient)) + gradient.square()
    state.extra[_FISHER] = {name: values / len(parts) for name, values in sums.items()}
    state.extra[_ANCHOR] = {name: values.detach().clone() for name, values in weights(state).items()}


def is_measured(state: State) -> bool:
    """Whether `measure` was called on the state."""
    return _FISHER in state.extra


def held(objective: Objective, state: State, alpha: float) -> Objective:
    """The loss plus alpha·Σ F·(θ − θ₀)², where it is there."""

    def both(logits: Tensor, entropies: Tensor) -> Tensor | None:
        loss = objective(logits, entropies)
        fisher, anchor = state.extra.get(_FISHER, {}), state.extra.get(_ANCHOR, {})
        if loss is None:
            return None
        for name, values in weights(state).items():
            if name in fisher:
                loss = loss + alpha * (fisher[name] * (values - anchor[name]).square()).sum()
        return loss

    return both


def _own_labels(logits: Tensor, entropies: Tensor) -> Tensor:
    return F.cross_entropy(logits, logits.argmax(1))
