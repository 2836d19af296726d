"""Statistics and normalization as pure functions; inputs (B, C, ...) with any number of spatial axes.

Statistics are float32 (float64 for float64 inputs) whatever the input's precision, and variances are
biased (divided by the number of values), as torch's batch_norm normalizes with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from lnbench.lazy import F, torch

if TYPE_CHECKING:
    from torch import Tensor

Statistics: TypeAlias = "tuple[Tensor, Tensor]"  # mean, biased variance


def image_statistics(x: Tensor) -> Statistics:
    """Mean and variance (B, C) of each channel of each image, over its spatial axes."""
    return _statistics(x, tuple(range(2, x.ndim)))


def batch_statistics(x: Tensor, groups: int = 1) -> Statistics:
    """Mean and variance (K, C) of each channel over each group of a batch; image i is in group i mod K."""
    if not x.is_cpu and x.ndim > 2:
        # No copy in any memory format, where group_view makes one of channels-last.
        return _statistics(by_group(x, groups), (0, *range(3, x.ndim + 1)))  # (K, C)
    view = group_view(x, groups)  # (B/K, K·C, ...)
    mean, var = _statistics(view, (0, *range(2, x.ndim)))  # (K·C,)
    return mean.view(groups, -1), var.view(groups, -1)


def by_group(x: Tensor, groups: int) -> Tensor:
    """View (B, C, ...) as (B/K, K, C, ...), in any memory format."""
    return x.view(-1, groups, *x.shape[1:])


def group_view(x: Tensor, groups: int) -> Tensor:
    """View (B, C, ...) as (B/K, K·C, ...): image i's channels become those of group i mod K."""
    return x if groups == 1 else x.reshape(x.shape[0] // groups, groups * x.shape[1], *x.shape[2:])


def corrected(statistics: Statistics, values: int, var: str) -> Statistics:
    """The statistics of n values with their variance `biased`, as it is, or `unbiased`, times n/(n − 1).

    The variance of a single value stays 0.
    """
    if var == "biased" or values == 1:
        return statistics
    return statistics[0], statistics[1] * (values / (values - 1))


def blend(stored: Statistics, target: Statistics, N: float, n: int) -> Statistics:
    """Mix statistics: N/(N+n)·stored + n/(N+n)·target, mean and variance each by itself.

    Schneider et al., arXiv 2006.16971, without the cross term of the two means. N is the weight of the
    stored statistics in images, n the number of images behind the target's.
    """
    weight = n / (N + n)  # of the target
    # lerp is exact at both ends: N = 0 gives the target's numbers, N = inf the stored ones.
    return stored[0].lerp(target[0], weight), stored[1].lerp(target[1], weight)


def normalize(x: Tensor, statistics: Statistics, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return weight·(x − mean)/√(var + eps) + bias in the precision of `x`.

    Each of mean, var, weight and bias is (C,) or (B, C).
    """
    mean, var = statistics
    if mean.ndim == weight.ndim == 1 and not (mean.requires_grad or var.requires_grad):
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
    scale = torch.rsqrt(var + eps) * weight  # (B, C)
    shift = bias - mean * scale
    return multiply_add(x, per_channel(scale, x.ndim), per_channel(shift, x.ndim))  # (B, C, 1, ...)


def multiply_add(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x·scale + shift in the precision of `x`, computed in that of the factors."""
    if not x.is_cpu:
        if not is_cast_in_kernels(x, scale, shift):
            return torch.addcmul(shift, x, scale).to(x.dtype)
        return torch.addcmul(shift, x, scale, out=torch.empty_like(x))
    # Either way one multiplication and one addition; which is faster on a CPU depends on the layout.
    y = (x * scale).add_(shift) if x.is_contiguous() else torch.addcmul(shift, x, scale)
    return y.to(x.dtype)


def is_cast_in_kernels(x: Tensor, *others: Tensor) -> bool:
    """Whether kernels may read and write 16 bits and compute in 32, through `out=`.

    A GPU's kernels cast each value on its way (aten/src/ATen/native/ReduceOpsUtils.h, make_reduction, and
    cuda/Loops.cuh), so that no float32 copy of a whole feature map is written and read. `out=` takes no
    gradient; a compiler fuses the plain form by itself.
    """
    graded = torch.is_grad_enabled() and any(one.requires_grad for one in (x, *others))
    short = x.dtype in (torch.bfloat16, torch.float16)
    return short and not (x.is_cpu or graded or torch.compiler.is_compiling())


def per_channel(values: Tensor, ndim: int) -> Tensor:
    """View values (C,) or (B, C) so that they broadcast over an input of `ndim` axes (B, C, ...)."""
    return values.reshape(-1, values.shape[-1], *(1,) * (ndim - 2))


def mean_over_groups(values: Tensor) -> Tensor:
    """Mean (C,) over the groups of (K, C), exact where all groups agree."""
    first = values[0]
    # A rounded sum of K equal numbers divided by K need not be that number; a mean of zeros is 0.
    return first + (values - first).mean(0)


def precise(values: Tensor) -> Tensor:
    """Return values in float32 at least (float64 stays)."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _statistics(x: Tensor, axes: tuple[int, ...]) -> Statistics:
    if axes and is_cast_in_kernels(x):
        mean = x.mean(axes, dtype=torch.float32)
        return mean, torch.var(x, axes, correction=0, out=torch.empty_like(mean))
    x = precise(x)
    if not axes:  # a dense layer's output: each value is its own mean
        return x, torch.zeros_like(x)
    if not x.is_cpu:
        var, mean = torch.var_mean(x, axes, correction=0)
        return mean, var
    # On a CPU var_mean runs a scalar loop, over ten times slower than two vectorized means. Centring
    # first keeps what a difference of raw moments would lose where the mean is large.
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    # A second buffer of this size costs more than the arithmetic; a gradient would need it, though.
    squares = centred.square() if centred.requires_grad else centred.square_()
    var = squares.mean(axes)
    return mean.reshape(var.shape), var
