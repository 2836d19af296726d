"""A network whose weights files are tried."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def network() -> nn.Sequential:
    """A network whose state has every kind of entry: weights, statistics, a counter."""
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), flat=nn.Flatten(), fc=nn.Linear(16, 5))
    )


def ramp(module: nn.Module) -> nn.Module:
    """Weights that need no seed: a positive sine ramp."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.arange(value.numel()).sin().add(1.5).view(value.shape))
    return module
