"""Layers that store no statistics (GroupNorm, LayerNorm): a mode can learn their weight and bias."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lnbench.norm.state import leaf

if TYPE_CHECKING:
    from lnbench.norm.wrap import Switch


def own_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and layer for every GroupNorm and LayerNorm with a weight, subclasses too."""
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # compiled: nothing in it can be replaced
        if isinstance(module, nn.GroupNorm | nn.LayerNorm) and isinstance(module.weight, Tensor):
            yield name, module


class OwnLayer(nn.Module):
    """The original layer, with the weight and bias that a mode is learning in place of its own."""

    def __init__(self, name: str, layer: nn.Module, switch: Switch) -> None:
        super().__init__()
        self.training = layer.training
        self.layer = layer
        self.name = name
        self.switch = switch

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.name not in self.switch.learned:
            return self.layer(x)  # type: ignore[no-any-return]
        affine = self.switch.state.affine
        weight, bias = cast(Tensor, self.layer.weight), cast("Tensor | None", self.layer.bias)
        if self.name not in affine:
            affine[self.name] = leaf(weight), leaf(torch.zeros_like(weight) if bias is None else bias)
        own = dict(zip(("weight", "bias"), affine[self.name], strict=True))
        # Whatever the layer does beside (timm: permuting, an activation), it goes on doing.
        given = {name: own[name].to(values.dtype) for name, values in self.layer.named_parameters()}
        return cast(Tensor, functional_call(self.layer, given, (x,)))
