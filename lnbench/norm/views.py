"""Views of an image, whose statistics are taken with its own: mirrored and shifted, the same for all images.

View j is mirrored where j is odd, and shifted by up to an eighth of the sides, reflected at the border; the
shifts fill the square evenly (the R2 sequence). No chance is in them, so the image alone decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.lazy import torch
from lnbench.norm import stats

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.modes.registry import Forward
    from lnbench.norm.stats import Statistics

_REACH = 8  # the largest shift is the side divided by this
_R2 = (0.7548776662466927, 0.5698402909980532)  # 1/p and 1/p² of the plastic number p: p³ = p + 1


def with_views(images: Tensor, views: int) -> Tensor:
    """Images (B, C, H, W) and behind them view 1 of each, then view 2, …: ((1 + views)·B, C, H, W)."""
    return torch.cat([images, *(_view(images, number) for number in range(1, views + 1))])


def beside_views(forward: Forward, views: int | None) -> Forward:
    """A pass over images together with their views, which gives the logits (B, classes) of the images."""
    if views is None:
        return forward
    return lambda images: forward(with_views(images, views))[: images.shape[0]]


def image_statistics(x: Tensor, views: int | None, var: str = "biased") -> Statistics:
    """Mean and variance of each image, with its views where there are some: (B, C) of x (B, C, ...).

    With views, B counts them too, and an image's statistics stand behind it and all its views.
    """
    count = 1 if views is None else views + 1
    values = count * x[0, 0].numel()
    if views is None:
        return stats.corrected(stats.image_statistics(x), values, var)
    mean, variance = stats.corrected(stats.batch_statistics(x, x.shape[0] // count), values, var)
    return mean.repeat(count, 1), variance.repeat(count, 1)


def _view(images: Tensor, number: int) -> Tensor:
    height, width = images.shape[2:]
    down, right = (
        round((2 * (number * step % 1) - 1) * (side // _REACH))
        for step, side in zip(_R2, (height, width), strict=True)
    )
    columns = _shifted(width, right, images)
    return images[:, :, _shifted(height, down, images)][..., columns.flip(0) if number % 2 else columns]


def _shifted(side: int, by: int, like: Tensor) -> Tensor:
    """Positions 0 … side − 1, shifted, reflected at both ends."""
    last = side - 1
    return last - (last - (torch.arange(side, device=like.device) + by).abs()).abs()
