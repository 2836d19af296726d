"""The demo network: shapes, size, and feature maps that a single image can be normalized by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lnbench.models import demo

WEIGHTS = Path(demo.__file__).parent / "weights"


@pytest.mark.parametrize("classes", [2, 14])
def test_logits_have_a_column_for_each_class(classes: int) -> None:
    assert demo.demo_network(classes)(torch.zeros(3, 3, 64, 64)).shape == (3, classes)


def test_the_network_is_small() -> None:
    assert sum(p.numel() for p in demo.demo_network(14).parameters()) < 250_000


def test_every_norm_layer_sees_at_least_64_positions() -> None:
    network = demo.demo_network(14).eval()
    seen: list[int] = []
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda _m, inputs, _y: seen.append(inputs[0][0, 0].numel()))
    network(torch.zeros(1, 3, 64, 64))
    assert len(seen) == 7
    assert min(seen) >= 64


def test_the_packaged_weights_stay_under_two_megabytes() -> None:
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert [file.name for file in files] == ["demo-batchnorm.safetensors", "demo-localnorm.safetensors"]
    assert sum(file.stat().st_size for file in files) < 2_000_000
