"""`fixed`: the statistics that came with the checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.norm.modes.registry import mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State


@mode("fixed")
def fixed(x: Tensor, layer: Layer, state: State) -> Tensor:
    """The stored statistics of the checkpoint; the untouched model."""
    return layer.stored(x, state)
