"""The CIFAR residual networks: their published sizes, and one whole forward against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnbench.models.catalog import CIFAR
from lnbench.models.cifar import DEPTHS, CifarBlock, cifar_network

# Parameters in millions, He et al. (1512.03385) Table 6.
PUBLISHED = {"resnet20": 0.27, "resnet32": 0.46, "resnet44": 0.66, "resnet56": 0.85, "resnet110": 1.7}


def test_the_catalog_lists_what_can_be_built() -> None:
    assert tuple(DEPTHS) == CIFAR


@pytest.mark.parametrize("name", DEPTHS)
def test_size_and_depth_are_those_of_the_paper(name: str) -> None:
    network = cifar_network(name)
    parameters = sum(p.numel() for p in network.parameters())
    assert round(parameters / 1e6, 2 if name != "resnet110" else 1) == PUBLISHED[name]
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(name.removeprefix("resnet"))


def test_the_head_is_sized() -> None:
    network = cifar_network("resnet20", classes=100).eval()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert network(torch.zeros(1, 3, 48, 40)).shape == (1, 100)


def test_option_a_takes_every_second_pixel_and_pads_half_in_front_half_behind() -> None:
    block = CifarBlock(2, 6, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # the residual branch then adds bn2's bias, which is 0
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    expected = torch.zeros(1, 6, 2, 2)
    expected[0, 2:4] = x[0, :, ::2, ::2]
    assert torch.equal(block(x), expected)


def literal(state: dict[str, Tensor], x: Tensor, blocks: int) -> Tensor:
    """The same network written out over the tensors of its checkpoint, in float64."""
    state = {name: value.double() for name, value in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        scale = weight / (var + 1e-5).sqrt()
        return x * scale.view(-1, 1, 1) + (bias - mean * scale).view(-1, 1, 1)

    x = norm(F.conv2d(x.double(), state["conv1.weight"], padding=1), "bn1").clamp_min(0)
    for stage in (1, 2, 3):
        for index in range(blocks):
            name = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            y = norm(
                F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"
            ).clamp_min(0)
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                zeros = torch.zeros(x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3] // 2).double()
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
            x = (x + y).clamp_min(0)
    return x.flatten(2).mean(2) @ state["linear.weight"].T + state["linear.bias"]


def test_forward_is_the_papers_arithmetic() -> None:
    network = cifar_network("resnet20").eval()
    ramp = np.linspace(-1, 1, 3 * 32 * 32 * 2, dtype=np.float32)
    x = torch.from_numpy(np.sin(37 * ramp)).view(2, 3, 32, 32)
    for name, value in network.state_dict().items():
        if "running" in name:
            value.copy_(torch.linspace(0.5, 1.5, value.numel()))
    # float32 against float64 over 20 layers: some 1e-6 relative to logits of about 1.
    assert torch.allclose(network(x).double(), literal(network.state_dict(), x, 3), rtol=1e-4, atol=1e-4)
