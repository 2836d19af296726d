"""Networks for the tests of norm: small, seeded, with stored statistics and affines that are not trivial."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from lnbench.norm.convert import convert_localnorm
from lnbench.norm.layer import is_understood
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.registry import Mode, parse
from lnbench.norm.state import State
from lnbench.norm.wrap import NormLayers

# Logits are of order 1 and up to 121 float32 layers lie below them; the sums differ in their order alone.
ROUNDING = {"rtol": 1e-4, "atol": 5e-4}


class HandMade(nn.Module):
    """Every kind of axis: 3-D, 2-D and 1-D normalization, over maps, sequences and features.

    The 2-D layer is used twice, as networks with shared layers do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv3 = nn.Conv3d(1, 4, 3, padding=1)
        self.bn3 = nn.BatchNorm3d(4)
        self.conv2 = nn.Conv2d(12, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(8, 8, 1)
        self.conv1 = nn.Conv1d(8, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm1d(6)
        self.linear = nn.Linear(6 * 8, 16)
        self.bn0 = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn3(self.conv3(x.unsqueeze(1))).relu()  # (B, 4, 3, H, W)
        x = self.bn2(self.conv2(x.flatten(1, 2))).relu()  # (B, 8, H, W)
        x = self.bn2(self.mix(x)).relu()
        x = self.bn1(self.conv1(x.mean(3))).relu()  # (B, 6, H)
        x = nn.functional.adaptive_avg_pool1d(x, 8).flatten(1)
        return self.head(self.bn0(self.linear(x)).relu())


class Plain(nn.Module):
    """Two convolutions, each with a norm layer of the kind given."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), norm(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), norm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).relu()
        return self.head(self.norm2(self.conv2(x)).relu().mean((2, 3)))


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10),
    "densenet121": lambda: torchvision.models.densenet121(num_classes=10),
    "efficientnet_b0": lambda: timm.create_model("efficientnet_b0", num_classes=10),
    "hand-made": HandMade,
    "sync": lambda: Plain(nn.SyncBatchNorm),
    "frozen": lambda: Plain(FrozenBatchNorm2d),
    "plain": lambda: Plain(nn.BatchNorm2d),
    "no affine": lambda: Plain(lambda channels: nn.BatchNorm2d(channels, affine=False)),
}


@cache
def _state(name: str) -> dict[str, Tensor]:
    """A state in which norm layers store statistics near those they see, with weights of their own."""
    torch.manual_seed(7)
    network = BUILDERS[name]().eval()
    seen: dict[nn.Module, Tensor] = {}

    def settle(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if layer in seen:
            return
        (x,) = seen[layer] = inputs
        axes = (0, *range(2, x.ndim))
        layer.running_mean.copy_(x.mean(axes) + 0.2 * torch.randn(x.shape[1]) * x.std(axes))
        # No variance far below the others: it would amplify rounding to where nothing can be compared.
        layer.running_var.copy_(x.var(axes) * (0.6 + torch.rand(x.shape[1])) + 2 * x.var())
        if layer.weight is not None:
            layer.weight.copy_(0.4 + 0.4 * torch.rand(x.shape[1]))
            layer.bias.copy_(0.3 * torch.randn(x.shape[1]))

    with torch.no_grad():
        for layer in network.modules():
            if is_understood(layer):
                layer.register_forward_pre_hook(settle)
        network(images(6, 48))
    return network.state_dict()


def build(name: str) -> nn.Module:
    """A network of the table in evaluation mode, the same weights each time."""
    network = BUILDERS[name]()
    network.load_state_dict(_state(name))
    return network.eval()


def images(count: int, side: int = 48, seed: int = 0) -> Tensor:
    """Float pictures (count, 3, side, side) whose brightness and contrast differ from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(count, 3, side, side, generator=generator)
    level = torch.randn(count, 3, 1, 1, generator=generator)
    return pixels * torch.rand(count, 1, 1, 1, generator=generator).add(0.5) + 0.5 * level


def fingerprint(network: nn.Module) -> dict[str, bytes]:
    """The bytes of every parameter and buffer."""
    return {
        name: value.reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, value in network.state_dict().items()
    }


def scattered(name: str, groups: int = 2) -> nn.Module:
    """The network converted to LocalNorm with groups that differ, as training would leave them."""
    network = convert_localnorm(build(name), groups)
    generator = torch.Generator().manual_seed(3)
    for layer in network.modules():
        if isinstance(layer, LocalNorm2d):
            for values in (layer.weight, layer.bias):
                values.add_(0.1 * torch.randn(values.shape, generator=generator))
    return network


def run(
    network: nn.Module, layers: NormLayers, mode: str | Mode, x: Tensor, group: int | None = None
) -> Tensor:
    mode = parse(mode) if isinstance(mode, str) else mode
    state = State(group=group)
    layers.use(mode, state)
    mode.begin(network, lambda *_: x, state)
    return network(x)
