"""What is counted of predictions. A metric is a few sums, so that nothing is kept per image but one bit.

The sums of all metrics are one float64 vector that adds up over chunks, batches and processes, on the device
and without waiting for it; integers stay exact in float64 up to 2**53. `Scores` are read from it once, when a
condition is finished. A metric is added by registering it here: record, tables and rules find it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lnbench.lazy import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

ECE_BINS = 15  # Guo et al. 2017 (1706.04599): equal-width confidence bins

Better = Literal["higher", "lower"]
Count = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
Read = Callable[[Sequence[float], int], float | None]


@dataclass(frozen=True)
class Metric:
    """A figure of every cell.

    `count(log_probs, predicted, labels)` gives float64 (size,) of one chunk, on its device: log_probs float32
    (B, classes), all NaN where the outputs are not numbers; predicted int64 (B,), where a vote may differ
    from the arg max, and -1 where the outputs are not numbers; labels int64 (B,).
    `read(sums, images)` makes the figure of the added sums, None where it is undefined. `unit`: "%" for a
    rate, a fraction in 0–1 that only tables show in percent; otherwise its name, empty where there is none.
    `title` is the name in tables, `about` says what it is.
    """

    name: str
    size: int
    count: Count
    read: Read
    better: Better
    unit: str
    title: str
    about: str


METRICS: dict[str, Metric] = {}  # in the order of columns


def mean(sums: Sequence[float], images: int) -> float:
    """The mean over images of what one sum added up."""
    return sums[0] / images


def metric(
    name: str, *, better: Better, unit: str = "", size: int = 1, read: Read = mean, title: str = ""
) -> Callable[[Count], Count]:
    """Register the decorated count; the first line of its docstring is `about`. Raises on a name taken.

    Example:
        >>> import lnbench, torch
        >>> @lnbench.metric("my_error", better="lower", unit="%")
        ... def my_error(log_probs, predicted, labels):
        ...     "Images whose predicted class is wrong."
        ...     return (predicted != labels).double().sum(0, keepdim=True)
        >>> my_error(torch.zeros(3, 2), torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])).item()
        1.0
    """

    def register(count: Count) -> Count:
        if name in METRICS:
            raise ValueError(f"metric {name} is registered twice")
        about = (count.__doc__ or "").strip().split("\n")[0].rstrip(".")
        METRICS[name] = Metric(name, size, count, read, better, unit, title or name, about)
        return count

    return register


@metric("top1", better="higher", unit="%", title="top-1")
def top1(log_probs: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    """Images whose predicted class is right."""
    return (predicted == labels).double().sum(0, keepdim=True)


@metric("top5", better="higher", unit="%", title="top-5")
def top5(log_probs: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    """Images whose class is among the five most probable."""
    top = log_probs.topk(min(5, log_probs.shape[1]), dim=1).indices  # (B, 5)
    in_top = (top == labels[:, None]).any(dim=1)
    if log_probs.shape[1] > 5:
        # A voted class may lie outside the five most probable ones; right is right.
        in_top = in_top | (predicted == labels)
    return (in_top & (predicted >= 0)).double().sum(0, keepdim=True)


@metric("nll", better="lower", unit="nats", title="NLL")
def nll(log_probs: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood, mean over images.

    NaN, and so undefined for all, where one image's outputs are not numbers.
    """
    return -log_probs.gather(1, labels[:, None]).squeeze(1).double().sum(0, keepdim=True)


Bins = tuple[tuple[int, float, float], ...]  # (images, sum of confidence, correct) for each ECE bin


def bins(sums: Sequence[float]) -> Bins:
    """The confidence bins in the sums of `ece`."""
    parts = (sums[start : start + ECE_BINS] for start in range(0, 3 * ECE_BINS, ECE_BINS))
    return tuple((int(n), confidence, correct) for n, confidence, correct in zip(*parts, strict=True))


def _calibration_error(sums: Sequence[float], images: int) -> float | None:
    found = bins(sums)
    if sum(n for n, _, _ in found) < images:
        return None
    return sum(abs(confidence - correct) for _, confidence, correct in found) / images


@metric("ece", better="lower", unit="%", size=3 * ECE_BINS, read=_calibration_error, title="ECE")
def ece(log_probs: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    """Expected calibration error, 15 bins of the confidence in the predicted class.

    Each bin's images, then each one's summed confidence, then each one's correct predictions. Images whose
    outputs are not numbers are in no bin.
    """
    answered = predicted >= 0
    confidence = log_probs.gather(1, predicted.clamp_min(0)[:, None]).squeeze(1).double().exp()
    confidence = confidence.where(answered, 0)  # NaN · 0 in the product below would reach every bin
    # Bins are (k/15, (k+1)/15]: a confidence of exactly 1 belongs to the last one.
    index = (confidence * ECE_BINS).ceil().long().sub(1).clamp(0, ECE_BINS - 1)
    weights = torch.stack([answered.double(), confidence, (predicted == labels).double()])  # (3, B)
    # A product with the one-hot matrix sums in a fixed order; scatter_add on CUDA does not.
    one_hot = (index[:, None] == torch.arange(ECE_BINS, device=index.device)).double()  # (B, 15)
    return (weights @ one_hot).flatten()


@dataclass(frozen=True)
class Scores:
    """What a cell reports: each metric's figure by name, in the metric's own unit, and the bins of `ece`.

    `unanswered`: how many of the images have outputs that are not numbers.
    """

    images: int
    values: dict[str, float | None]
    bins: Bins
    unanswered: int = 0


def judge(log_probs: Tensor, predicted: Tensor) -> Tensor:
    """The predicted classes, but -1, which no label is, where the outputs are not numbers; int64 (B,).

    log_probs float32 (B, classes): a NaN or +inf among an image's logits makes all of its row NaN. A logit of
    -inf is an answer, a probability of 0.
    """
    return predicted.masked_fill(log_probs.isnan().any(1), -1)


def empty(device: torch.device | str) -> Tensor:
    """The count of no images: float64 (2 + sizes of all metrics,)."""
    size = 2 + sum(each.size for each in METRICS.values())
    return torch.zeros(size, dtype=torch.float64, device=device)


def count(log_probs: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    """Count one chunk without leaving the device: images, the sums of each metric, images not answered.

    float64; `predicted` as `judge` gives it.
    """
    images = torch.full((1,), len(labels), dtype=torch.float64, device=labels.device)
    sums = (each.count(log_probs, predicted, labels) for each in METRICS.values())
    return torch.cat([images, *sums, (predicted < 0).double().sum(0, keepdim=True)])


def total(rows: Tensor, before: Tensor | None = None) -> Tensor:
    """The sum of counts, float64 (rows, SIZE) → (SIZE,) on the CPU, going on from `before`.

    One row after another, so that a sum that was taken in parts is the same to the last bit.
    """
    first = (empty("cpu") if before is None else before)[None]
    sums: Tensor = torch.cat([first, rows.cpu()]).cumsum(0)[-1]
    return sums


def scores(counts: Tensor | NDArray[np.float64]) -> Scores:
    """Read the scores from a count; one transfer from the device.

    Raises ValueError where no image was counted.
    """
    images, *values, unanswered = counts.tolist()
    if images < 1:
        raise ValueError("scores of no images")
    sums: dict[str, list[float]] = {}
    for each in METRICS.values():
        sums[each.name], values = values[: each.size], values[each.size :]
    figures = {name: METRICS[name].read(own, int(images)) for name, own in sums.items()}
    return Scores(int(images), figures, bins(sums["ece"]), int(unanswered))
