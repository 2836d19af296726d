"""Counting predictions on the device: every metric is a sum, so nothing is kept per image but one bit.

A `count` is a float64 vector of length `SIZE` that adds up over chunks, batches and processes; integers
stay exact in float64 up to 2**53. `Scores` are read from it once, when a condition is finished.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ECE_BINS = 15  # Guo et al. 2017 (1706.04599): equal-width confidence bins
SIZE = 4 + 3 * ECE_BINS


@dataclass(frozen=True)
class Scores:
    """What a cell reports. Rates are fractions in 0–1; `nll` is in nats per image."""

    images: int
    correct: int
    top1: float
    top5: float
    nll: float
    ece: float
    bins: tuple[tuple[int, float, float], ...]  # (images, sum of confidence, correct) for each ECE bin


def empty(device: torch.device | str) -> Tensor:
    """The count of no images: float64 (SIZE,)."""
    return torch.zeros(SIZE, dtype=torch.float64, device=device)


def count(log_probs: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    """Count one chunk without leaving the device.

    Args:
        log_probs: float32 (B, classes), log-probabilities.
        predicted: int64 (B,), the predicted class; a vote may differ from the arg max of `log_probs`.
        labels: int64 (B,).

    Returns:
        float64 (SIZE,): images, top-1, top-5, negative log-likelihood, then for each bin of the
        confidence in the predicted class its images, summed confidence and correct predictions.
    """
    correct = predicted == labels
    top = log_probs.topk(min(5, log_probs.shape[1]), dim=1).indices  # (B, 5)
    in_top = (top == labels[:, None]).any(dim=1)
    if log_probs.shape[1] > 5:
        # A voted class may lie outside the five most probable ones; right is right.
        in_top = in_top | correct
    nll = -log_probs.gather(1, labels[:, None]).squeeze(1).double()
    confidence = log_probs.gather(1, predicted[:, None]).squeeze(1).double().exp()
    # Bins are (k/15, (k+1)/15]: a confidence of exactly 1 belongs to the last one.
    bins = (confidence * ECE_BINS).ceil().long().sub(1).clamp(0, ECE_BINS - 1)
    weights = torch.stack([torch.ones_like(confidence), confidence, correct.double()])  # (3, B)
    # A product with the one-hot matrix sums in a fixed order; scatter_add on CUDA does not.
    one_hot = (bins[:, None] == torch.arange(ECE_BINS, device=bins.device)).double()  # (B, 15)
    binned = weights @ one_hot
    totals = torch.stack([weights[0].sum(), weights[2].sum(), in_top.double().sum(), nll.sum()])
    return torch.cat([totals, binned.flatten()])


def scores(counts: Tensor) -> Scores:
    """Read the scores from a count; one transfer from the device. `counts` must hold an image."""
    values = counts.tolist()
    images, right, top5, nll = values[:4]
    if images < 1:
        raise ValueError("scores of no images")
    sizes, confidence, correct = (values[4 + i * ECE_BINS : 4 + (i + 1) * ECE_BINS] for i in range(3))
    gap = sum(abs(c - k) for c, k in zip(confidence, correct, strict=True))
    return Scores(
        images=int(images),
        correct=int(right),
        top1=right / images,
        top5=top5 / images,
        nll=nll / images,
        ece=gap / images,
        bins=tuple((int(n), c, k) for n, c, k in zip(sizes, confidence, correct, strict=True)),
    )
