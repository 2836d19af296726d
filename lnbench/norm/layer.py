"""The normalization layers with stored statistics that are understood, each reduced to one description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lnbench.errors import ModelError

# Exact types only: a subclass may do more in its forward (timm's applies an activation), and treating it
# as its parent would lose that silently. Full names, so that no library is imported just to be asked for.
_TORCH = "torch.nn.modules.batchnorm"
PLAIN = {f"{_TORCH}.BatchNorm1d", f"{_TORCH}.BatchNorm2d", f"{_TORCH}.BatchNorm3d", f"{_TORCH}.SyncBatchNorm"}
FROZEN = {"torchvision.ops.misc.FrozenBatchNorm2d"}
WITH_ACTIVATION = {"timm.layers.norm_act.BatchNormAct2d"}
LOCAL = {"lnbench.norm.localnorm.LocalNorm2d"}
UNDERSTOOD = PLAIN | FROZEN | WITH_ACTIVATION | LOCAL


@dataclass(frozen=True)
class Stored:
    """What a norm layer brought with its checkpoint.

    `mean`, `var`: (C,). `weight`, `bias`: (K, C) on LocalNorm layers, else (C,), or None for 1 and 0.
    `tail`: modules the layer applies to the normalized result (timm: dropout, activation).
    """

    mean: Tensor
    var: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    tail: tuple[nn.Module, ...]

    @property
    def is_local(self) -> bool:
        """Whether this is a LocalNorm layer; K = 1 is one too."""
        return self.weight is not None and self.weight.ndim == 2


def kind(module: nn.Module) -> str:
    """Return the full name of a module's exact type."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def is_understood(module: nn.Module) -> bool:
    """Whether the modes know how to work in a layer's place."""
    return kind(module) in UNDERSTOOD


def describe(name: str, module: nn.Module) -> Stored:
    """Reduce an understood layer to its description; the tensors are the layer's own, not copies.

    Raises:
        ModelError: the layer stores no statistics (track_running_stats=False).
    """
    mean, var = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    if mean is None or var is None:
        raise ModelError(
            f"layer '{name}' ({type(module).__name__}) stores no statistics (track_running_stats=False);"
            " the normalization modes need them: build the network with track_running_stats=True"
        )
    tail = (getattr(module, "drop", None), getattr(module, "act", None))
    return Stored(
        mean=mean,
        var=var,
        weight=cast("Tensor | None", module.weight),
        bias=cast("Tensor | None", module.bias),
        eps=cast(float, module.eps),
        tail=tuple(part for part in tail if part is not None and not isinstance(part, nn.Identity)),
    )


def norm_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and layer for every understood norm layer, in the network's order.

    Raises:
        ModelError: a layer has stored statistics but is of a kind that is not understood. Layers without
            them (GroupNorm, LayerNorm, InstanceNorm) have no modes and are passed over.
    """
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # compiled: nothing in it can be replaced
        if is_understood(module):
            yield name, module
        elif "running_mean" in module._buffers and module._buffers["running_mean"] is not None:
            raise ModelError(
                f"layer '{name}' is of a kind that is not understood: {kind(module)};"
                f" understood: {', '.join(sorted(full.rsplit('.', 1)[1] for full in UNDERSTOOD))}"
            )


def replace(module: nn.Module, made: Mapping[int, nn.Module]) -> nn.Module:
    """Put the made modules, each filed under the id of the one it replaces, wherever those are used.

    Returns the network: the module itself, or what replaces it.
    """
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in made:
                parent._modules[name] = made[id(child)]
    return made.get(id(module), module)
