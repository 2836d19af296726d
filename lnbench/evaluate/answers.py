"""The class map on the device: logits of all outputs to scores of those that answer, before any softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lnbench.data.labels import ClassMap


def selection(chosen: ClassMap, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """A function of logits float32 (B, outputs) → scores (B, columns); None where nothing is to be selected.

    The scores are logits again: their softmax is that of the outputs that are left. Of a superclass it is the
    mean of its outputs' softmax (log of the mean of exp), or the largest, made to sum to one over classes.
    """
    if chosen.columns == tuple((k,) for k in range(chosen.outputs)):
        return None
    width = max(len(column) for column in chosen.columns)
    padded = [[*column, *[column[0]] * (width - len(column))] for column in chosen.columns]
    outputs = torch.tensor(padded, device=device)  # (columns, width)
    if width == 1:
        return lambda logits: logits.index_select(1, outputs[:, 0])
    sizes = torch.tensor([len(column) for column in chosen.columns], device=device)
    beyond = torch.arange(width, device=device) >= sizes[:, None]

    def grouped(logits: Tensor) -> Tensor:
        members = logits[:, outputs].masked_fill(beyond, -torch.inf)  # (B, columns, width)
        if chosen.combine == "largest":
            return members.amax(-1)
        return members.logsumexp(-1) - sizes.log()

    return grouped


def columns_of(chosen: ClassMap, device: torch.device) -> Tensor | None:
    """The column of each label, int64 (labels,), or None where label i is column i."""
    if chosen.column_of == tuple(range(len(chosen.column_of))):
        return None
    return torch.tensor(chosen.column_of, device=device)
