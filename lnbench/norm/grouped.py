"""Normalization of a batch by groups, forward and backward, at the cost of batch normalization."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lnbench.norm.stats import (
    Statistics,
    batch_statistics,
    by_group,
    group_view,
    image_statistics,
    multiply_add,
    normalize,
    per_channel,
    precise,
)


def normalize_by_groups(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, track: Statistics | None = None
) -> Tensor:
    """Normalize each of K groups by its own statistics, weight and bias; image i is in group i mod K.

    Args:
        x: (B, C, ...), B a multiple of K.
        weight, bias: (K, C), float32 for 16-bit inputs.
        track: two tensors (K·C,) of zeros that are given each group's mean and *unbiased* variance (0
            where there is one value); they must not be changed before the backward pass.

    Returns the result (B, C, ...) in the precision and memory format of `x`, which carries the gradient.
    """
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    values = x.numel() // weight.numel()
    if values == 1:
        return _one_value(x, weight, bias, track)
    if channels_last and x.is_cpu and weight.shape[0] > 1 and not x.is_contiguous():
        y, mean, var = _ChannelsLast.apply(x, weight, bias, eps)
        if track is not None:
            track[0].copy_(mean.flatten())
            track[1].copy_(var.flatten()).mul_(values / (values - 1))
        return cast(Tensor, y)
    if channels_last and not x.is_cpu and weight.shape[0] > 1 and track is None:
        return _on_device(x, weight, bias, eps)
    mean, var = track or (None, None)
    # With momentum 1 the kernel leaves its means and unbiased variances there: no second pass over x.
    view = group_view(x, weight.shape[0])  # (B/K, K·C, ...)
    y = F.batch_norm(view, mean, var, weight.reshape(-1), bias.reshape(-1), True, 1.0, eps).reshape(x.shape)
    return y.contiguous(memory_format=torch.channels_last) if channels_last else y


def _on_device(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """On a GPU, channels-last: by a view of the groups, where group_view copies twice."""
    mean, var = batch_statistics(x, weight.shape[0])  # (K, C)
    scale = torch.rsqrt(var + eps) * weight
    shift = torch.addcmul(bias, mean, scale, value=-1)
    view = by_group(x, weight.shape[0])  # (B/K, K, C, H, W)
    y = multiply_add(view, scale[:, :, None, None], shift[:, :, None, None])
    return y.flatten(0, 1)


def normalize_images(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize each image of (B, C, ...) by its own statistics over its pixels; weight and bias are (C,)."""
    images = x.shape[0]
    if math.prod(x.shape[2:]) == 1:  # whatever the number of images, which an export may leave open
        return _one_value(x, weight.expand(images, -1), bias.expand(images, -1), None)
    return normalize(x, image_statistics(x), weight, bias, eps)


def _one_value(x: Tensor, weight: Tensor, bias: Tensor, track: Statistics | None) -> Tensor:
    """One value per channel and group has variance 0: the result is exactly the bias."""
    view = group_view(x, weight.shape[0])  # (1, K·C, ...)
    if track is not None:
        track[0].copy_(view.detach().flatten())
    # batch_norm refuses this case, and mean·scale − x·scale would leave rounding errors scaled by 1/√eps.
    # The products keep every tensor in the gradient's graph, as DistributedDataParallel expects.
    y = (view - view) * per_channel(weight.reshape(-1), x.ndim) + per_channel(bias.reshape(-1), x.ndim)
    return y.to(x.dtype).reshape(x.shape)


class _ChannelsLast(torch.autograd.Function):
    """Group normalization of channels-last input on a CPU.

    The (B/K, K·C, ...) view of a channels-last tensor is a transposing copy, there and back, forward and
    backward: four to five times the cost of batch normalization. Sums over the pixels of single images
    are fast in this layout, and sums over a group are sums of those; everything else is element-wise with
    one factor per image and channel. This costs 1.3 to 2.5 times batch normalization.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        images, groups = x.shape[0], weight.shape[0]
        mean = _group_mean(precise(x), groups)  # (K, C)
        centred = x - _per_image(mean, images)  # (B, C, H, W)
        var = _group_mean(centred.square(), groups)  # (K, C), biased
        inverse = torch.rsqrt(var + eps)
        y = centred.mul_(_per_image(weight * inverse, images)).add_(_per_image(bias, images))
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, var)
        return y.to(x.dtype), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        images, groups, values = x.shape[0], weight.shape[0], x.numel() // weight.numel()
        grad = precise(grad.contiguous(memory_format=torch.channels_last))
        # With x̂ = (x − mean)·inverse: dx = weight·inverse·(g − E[g] − x̂·E[g·x̂]), written as a·g + b·x + c.
        along_one = _group_mean(grad, groups)  # E[g] (K, C)
        along_x = (_group_mean(grad * x, groups) - mean * along_one) * inverse  # E[g·x̂] (K, C)
        a = weight * inverse
        b = -a * inverse * along_x
        c = -a * along_one - b * mean
        dx = (grad * _per_image(a, images)).addcmul_(x.to(grad.dtype), _per_image(b, images))
        dx.add_(_per_image(c, images))
        return dx.to(x.dtype), along_x * values, along_one * values, None


def _group_mean(x: Tensor, groups: int) -> Tensor:
    """Mean (K, C) over the images and pixels of each group of (B, C, H, W)."""
    return x.mean((2, 3)).view(-1, groups, x.shape[1]).mean(0)


def _per_image(values: Tensor, images: int) -> Tensor:
    """Give each of B images the values (K, C) of its group: (B, C, 1, 1)."""
    return values.repeat(images // values.shape[0], 1)[:, :, None, None]
