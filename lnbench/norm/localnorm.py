"""LocalNorm (Yin et al., arXiv 1902.06550) as a layer: group statistics, a weight and bias per group."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from lnbench.norm.grouped import normalize_by_groups, normalize_images
from lnbench.norm.stats import mean_over_groups, precise

ONE_VALUE = (
    "a normalization layer sees a single value per channel (1x1 maps, one image), so its variance is 0 and"
    " its output the bias alone, whatever the image shows: use larger inputs, larger groups or another mode"
)


class LocalNorm2d(nn.Module):
    """Batch normalization in which each of K groups of a batch has its own statistics, weight and bias.

    In training a batch (B, C, H, W) is cut into K groups of B/K images; image i belongs to group i mod K.
    Batches are shuffled, so this equals the authors' contiguous cut in distribution, and it makes the
    whole layer one fused batch normalization of the (B/K, K·C, H, W) view:

        y[i, c] = weight[k, c] · (x[i, c] − μ[k, c]) / √(σ²[k, c] + eps) + bias[k, c],   k = i mod K

    with mean μ and biased variance σ² over the (B/K, H, W) values of a group. Training also moves
    `running_mean` and `running_var` as BatchNorm does, by the mean and unbiased variance of the whole
    batch, so that the stored statistics keep describing the network; the layer never reads them.

    In evaluation each image is normalized by its own mean and variance over (H, W), with the mean over
    the groups of weight and bias, or with those of group k after `layer.group = k`. The authors' vote
    over the groups needs K passes: the benchmark's mode `local` makes them.

    Args:
        num_features: C, the number of channels.
        groups: K, the number of groups (not the number of images in one).
        eps: added to the variance.
        momentum: weight of a new batch in the stored statistics; None for a cumulative average.

    Shapes: input (B, C, ...) with any number of spatial axes, floating point; output the same, in the
    input's memory format. Parameters (K, C), buffers (C,).

    Raises:
        ValueError: the input is not (B, C, ...), or a training batch is not a multiple of K.

    Example:
        >>> import lnbench, torch
        >>> layer = lnbench.LocalNorm2d(8, groups=4).train()
        >>> y = layer(torch.randn(12, 8, 16, 16))  # 4 groups of 3 images
        >>> layer.weight.shape, bool(y[::4].mean((0, 2, 3)).abs().max() < 1e-5)
        (torch.Size([4, 8]), True)
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        groups: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_features < 1 or groups < 1:
            raise ValueError(
                f"LocalNorm2d needs num_features >= 1 and groups >= 1, got {num_features}, {groups}"
            )
        self.num_features = num_features
        self.groups = groups
        self.eps = eps
        self.momentum = momentum
        self.group: int | None = None
        self.weight = nn.Parameter(torch.ones(groups, num_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(groups, num_features, device=device, dtype=dtype))
        self.register_buffer("running_mean", torch.zeros(num_features, device=device, dtype=dtype))
        self.register_buffer("running_var", torch.ones(num_features, device=device, dtype=dtype))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long, device=device))
        # timm's BatchNormAct2d applies dropout and an activation itself; a converted one keeps them here.
        self.drop: nn.Module | None = None
        self.act: nn.Module | None = None
        # The layer type this one was converted from; conversion back restores it.
        self.origin: type[nn.Module] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"LocalNorm2d expects (B, {self.num_features}, ...), got {tuple(x.shape)}")
        y = self._train_forward(x) if self.training else self._eval_forward(x)
        if self.drop is not None:
            y = self.drop(y)
        return y if self.act is None else self.act(y)

    def affine(self, group: int | None = None) -> tuple[Tensor, Tensor]:
        """Return weight and bias (C,) of one group, or their mean over the groups."""
        if group is None:
            return mean_over_groups(self.weight), mean_over_groups(self.bias)
        return self.weight[group], self.bias[group]

    def extra_repr(self) -> str:
        return f"{self.num_features}, groups={self.groups}, eps={self.eps}, momentum={self.momentum}"

    def _train_forward(self, x: Tensor) -> Tensor:
        images, groups = x.shape[0], self.groups
        if images == 0 or images % groups:
            raise ValueError(
                f"LocalNorm2d cannot cut a training batch of {images} images into {groups} equal groups:"
                f" use a batch size that is a multiple of {groups}, and DataLoader(drop_last=True)"
                " so that a short last batch is left out"
            )
        weight, bias = precise(self.weight), precise(self.bias)
        _warn_of_one_value(x.numel() == groups * x.shape[1])
        mean, var = weight.detach().new_zeros(2, weight.numel())  # (K·C,), (K·C,)
        y = normalize_by_groups(x, weight, bias, self.eps, track=(mean, var))
        self._track(mean.view(groups, -1), var.view(groups, -1), x.numel() // self.num_features)
        return y

    def _eval_forward(self, x: Tensor) -> Tensor:
        weight, bias = self.affine(self.group)  # (C,), (C,)
        _warn_of_one_value(math.prod(x.shape[2:]) == 1)
        return normalize_images(x, precise(weight), precise(bias), self.eps)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, values: int) -> None:
        """Move the stored statistics by those of the whole batch of `values` values per channel.

        `mean`, `var`: (K, C), the groups' means and unbiased variances.
        """
        self.num_batches_tracked.add_(1)
        each = values // self.groups
        whole = mean.mean(0)  # (C,)
        # Law of total variance: the mean of the groups' biased variances, and the variance of their means.
        spread = var.mean(0) * ((each - 1) / each) + (mean - whole).square().mean(0)  # (C,)
        unbiased = spread * (values / max(values - 1, 1))
        for stored, batch in ((self.running_mean, whole), (self.running_var, unbiased)):
            if self.momentum is None:  # a tensor as weight: the count stays on the device
                stored.lerp_(batch.to(stored.dtype), (1 / self.num_batches_tracked).to(stored.dtype))
            else:
                stored.lerp_(batch.to(stored.dtype), self.momentum)


def _warn_of_one_value(found: bool) -> None:
    # Found from shapes only: nothing waits for the device. Always from this line, so python shows it once.
    if found and not torch.compiler.is_compiling():
        warnings.warn(ONE_VALUE, stacklevel=1)
