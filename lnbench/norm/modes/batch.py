"""`batch`: the statistics of the current batch (Nado et al., arXiv 2006.10963)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.norm.modes.registry import mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State


@mode("batch", unit="batch")
def batch(x: Tensor, layer: Layer, state: State) -> Tensor:
    """Statistics of the current batch (--batch-size images)."""
    return layer.normalize_batch(x, state)
