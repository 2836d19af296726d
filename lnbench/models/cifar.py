"""Residual networks for 32 px images: He et al. (1512.03385) §4.2, shortcut option A.

Depth 6n + 2: one 3×3 convolution, three stages of n two-convolution blocks with 16, 32 and 64 channels,
global average pooling, one linear layer. Option A shortcuts have no weights: they take every second pixel
and fill the new channels with zeros, half in front and half behind. Module names are those of the widely
shared checkpoints (conv1, bn1, layer1.0.conv1, …, linear).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# Name → blocks in each stage.
DEPTHS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}


class CifarBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut; (B, C, H, W) → (B, channels, H/stride, W/stride)."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = (channels - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))  # (B, channels, H/stride, W/stride)
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.padding, self.padding))  # (B, channels, H/stride, W/stride)
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """(B, 3, H, W) normalized pixels → (B, classes) logits; made for 32 × 32."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, blocks, stride=1)
        self.layer2 = stage(16, 32, blocks, stride=2)
        self.layer3 = stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))  # (B, 16, H, W)
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, H/4, W/4)
        return self.linear(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]  # (B, classes)


def stage(inputs: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first changes the size and the width."""
    first = CifarBlock(inputs, channels, stride)
    return nn.Sequential(first, *(CifarBlock(channels, channels, 1) for _ in range(blocks - 1)))


def cifar_network(name: str, classes: int = 10) -> CifarResNet:
    """Build one of DEPTHS with fresh weights."""
    return CifarResNet(DEPTHS[name], classes)
