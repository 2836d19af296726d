"""The demo network: a small residual network with BatchNorm for 64 px images.

Its feature maps stay at 8×8 or larger up to the last norm layer, so that the statistics of a single
image come from at least 64 positions a channel; that is what makes `local` meaningful at this size.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)  # channels of the three stages, at 32×32, 16×16 and 8×8 for a 64 px image


class DemoBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm around a shortcut (He et al., arXiv 1512.03385, figure 2)."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and incoming == outgoing
            else nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))  # (B, outgoing, H/stride, W/stride)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class DemoNetwork(nn.Module):
    """Stem, three residual blocks, average, linear: float (B, 3, 64, 64) → logits (B, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.conv1 = nn.Conv2d(3, first, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = DemoBlock(first, first, stride=1)
        self.layer2 = DemoBlock(first, second, stride=2)
        self.layer3 = DemoBlock(second, third, stride=2)
        self.linear = nn.Linear(third, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))  # (B, 16, 32, 32)
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, 8, 8)
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


def demo_network(classes: int) -> nn.Module:
    """Build the demo network with `classes` outputs, randomly initialised (about 80,000 parameters)."""
    return DemoNetwork(classes)
