"""`sar`: steps towards flat minima, from reliable predictions (SAR, Niu et al., arXiv 2302.12400)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from lnbench.lazy import torch
from lnbench.norm import gradient, reliable
from lnbench.norm.modes import learning
from lnbench.norm.modes.eta import Margin
from lnbench.norm.modes.learning import Loss, Reset
from lnbench.norm.modes.registry import Forward, Option, Prediction, Setting, answer, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Rule = Literal["resnet", "vit"]
Rate = Annotated[float | Rule, Option("length of a step, or the authors' for batches of this size", least=0)]
Radius = Annotated[float, Option("length of the step aside at whose end the gradient is taken", least=0)]
Recover = Annotated[Literal["fixed", "official"], Option("what is forgotten when predictions collapse")]

_BATCH = "batch size"  # in State.extra: of the stream, whose last batch may be shorter
_COLLAPSED = 0.2  # nats: a running mean of entropies below this is a network that answers one class
_KEEP = 0.9  # of that mean at every batch
_MEAN = "entropy"  # in what is learned
_LEFT_OUT = ("layer4", "blocks.9", "blocks.10", "blocks.11", "norm.")


def learns(name: str) -> bool:
    """All but the last block, by its name in torchvision's ResNets and timm's ViT-Base, and a last `norm`."""
    return name != "norm" and not any(part in name for part in _LEFT_OUT)


def rate(lr: Rate, batch: int) -> float:
    """The length of a step: as given, or by the rule of the authors' scripts for batches of so many images.

    For ResNets 0.00025, below 32 images 0.00025 · batch / 32; for vision transformers 0.001 · batch / 64;
    either is doubled for single images.
    """
    if lr == "resnet":
        found = 0.00025 if batch >= 32 else 0.00025 / 64 * batch * 2
    elif lr == "vit":
        found = 0.001 / 64 * batch
    else:
        return float(lr)
    return 2 * found if batch == 1 else found


def adapt(
    forward: Forward,
    pixels: Tensor,
    state: State,
    groups: int,
    *,
    lr: Rate = 0.00025,
    margin: Margin = 0.4,
    rho: Radius = 0.05,
    recover: Recover = "fixed",
    loss: Loss = "entropy",
    reset: Reset = "never",
) -> Prediction:
    """Two forward and two backward passes; the answer is that of the first."""
    learning.next_batch(state, reset)
    length_of_step = rate(lr, state.extra.setdefault(_BATCH, len(pixels)))
    first = _Reliable(margin)
    logits, aside = gradient.gradients(forward, pixels, state, first, gradient.LOSSES[loss])
    state.counts["samples"] += int(first.chosen.sum())
    named = gradient.weights(state)
    before = {name: named[name].detach().clone() for name in aside}
    with torch.no_grad():
        # One norm over all weights; where nothing was reliable, all gradients are 0, and so is the step.
        length = torch.stack([each.norm() for each in aside.values()]).norm() if aside else 0.0
        for name, direction in aside.items():
            named[name].add_(direction * (rho / (length + 1e-12)))
    second = _Reliable(margin, among=first.chosen)
    _, found = gradient.gradients(forward, pixels, state, second, gradient.LOSSES[loss])
    with torch.no_grad():
        for name, values in before.items():
            named[name].copy_(values)
    gradient.descend(state, found, length_of_step, "sgd")
    _recover(state, second, recover)
    return answer(logits)


class _Reliable:
    """The mean entropy of the predictions below the bound, 0 where there are none; and which these are."""

    def __init__(self, margin: float, among: Tensor | None = None) -> None:
        self.margin, self.among = margin, among
        self.chosen: Tensor
        self.mean = 0.0

    def __call__(self, logits: Tensor, entropies: Tensor) -> Tensor:
        self.chosen = entropies.detach() < reliable.bound(self.margin, logits.shape[1])
        if self.among is not None:
            self.chosen &= self.among
        kept = entropies[self.chosen]
        loss = kept.mean() if len(kept) else kept.sum()
        self.mean = float(loss.detach())
        return loss


def _recover(state: State, second: _Reliable, recover: Recover) -> None:
    """Follow the entropy after the step aside; where it says that all collapsed, forget what was learned."""
    memory = gradient.learned(state)
    if bool(second.chosen.any()):
        mean = memory.get(_MEAN)
        memory[_MEAN] = second.mean if mean is None else _KEEP * mean + (1 - _KEEP) * second.mean
    if memory.get(_MEAN, _COLLAPSED) >= _COLLAPSED:
        return
    state.counts["recoveries"] += 1
    if recover == "official":
        state.affine.clear()  # and neither the momentum nor the mean that says so
    else:
        gradient.forget(state)


def _note(setting: Setting, *, lr: Rate) -> str | None:
    if isinstance(lr, str):
        return f"sar: lr={lr} is {rate(lr, setting.batch_size):.6g} for batches of {setting.batch_size}"
    return None


@mode(
    "sar",
    unit="stream",
    begin=learning.next_condition,
    predict=adapt,
    passes=lambda groups: 2,
    refuse=learning.refuse,
    note=_note,
    learns=learns,
)
def sar(x: Tensor, layer: Layer, state: State) -> Tensor:
    """As tent, from sure predictions, stepping towards flat minima; the last block does not learn."""
    return layer.normalize_batch(x, state)
