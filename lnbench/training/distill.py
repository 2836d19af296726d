"""Conversion without labels: the original network teaches what its converted self sees of single images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnbench.errors import UsageError
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.training import finetune
from lnbench.training.batches import Batches
from lnbench.training.finetune import Lesson, Standing
from lnbench.training.recipe import Recipe
from lnbench.types import InputNormalization

MODES = ("local:layers=localnorm", "fixed")  # measured on images held out
_CHUNK = 50  # images of one forward of the teacher


def train(
    network: nn.Module,
    teacher: nn.Module,
    images: np.ndarray,
    held_out: np.ndarray,
    recipe: Recipe,
    *,
    trained: Literal["norm", "all"] = "norm",
    normalization: InputNormalization,
    device: torch.device | str = "cpu",
    **options: Any,
) -> tuple[dict[str, float], list[Standing]]:
    """Train a converted network in place to predict from single images what its teacher predicts.

    The loss is the Kullback–Leibler divergence KL(teacher ‖ network) of the predictions for the same pixels.
    Both are in evaluation mode: LocalNorm layers take each image's own statistics, all other norm layers
    their stored ones, and no stored statistic moves.

    Args:
        network: with LocalNorm layers of one group.
        teacher: the network it was converted from, in mode `fixed`; left as it is, but on `device`.
        images, held_out: uint8 (N, 3, H, W), 0–255, to learn from and to measure on.
        trained: weight and bias of the LocalNorm layers ("norm"), or every parameter.
        options: `state`, `origin`, `report` and `processes` of `finetune.train`, as are the errors.

    Returns the share (0–1) of `held_out` on which network and teacher agree, by mode, before the training,
    and where it stood at each epoch's end, with the same shares as `held_out`.
    """
    local = [layer for layer in network.modules() if isinstance(layer, LocalNorm2d)]
    if {layer.groups for layer in local} != {1}:
        raise UsageError("distillation needs a network with LocalNorm layers of one group")
    device = torch.device(device)
    teacher.eval().to(device).to(memory_format=torch.channels_last)
    takes = [parameter.requires_grad for parameter in network.parameters()]
    if trained == "norm":
        network.requires_grad_(False)
        for layer in local:
            layer.weight.requires_grad_(True)
            layer.bias.requires_grad_(True)

    def loss(logits: Tensor, pixels: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = F.log_softmax(teacher(pixels).float(), dim=-1)
        return F.kl_div(F.log_softmax(logits.float(), dim=-1), wanted, log_target=True, reduction="batchmean")

    kept_out = held_out, _answers(teacher, held_out, normalization, device)
    before = finetune.measure(network.to(device), *kept_out, normalization, device, MODES)
    history = finetune.train(
        network,
        images,
        np.zeros(len(images), np.int64),
        recipe,
        normalization=normalization,
        held_out=kept_out,
        device=device,
        lesson=Lesson(nn.Module.eval, loss, MODES, single=True),
        **options,
    )
    for parameter, took in zip(network.parameters(), takes, strict=True):
        parameter.requires_grad_(took)
    teacher.to("cpu").to(memory_format=torch.contiguous_format)
    return before, history


@torch.inference_mode()
def _answers(
    teacher: nn.Module, images: np.ndarray, normalization: InputNormalization, device: torch.device
) -> np.ndarray:
    """The classes int64 (N,) that the teacher predicts."""
    unknown = np.zeros(len(images), np.int64)
    batches = Batches(images, unknown, normalization, device, torch.channels_last)
    found = [teacher(pixels).argmax(-1).cpu() for pixels, _ in batches.in_order(_CHUNK)]
    return torch.cat(found).numpy()
