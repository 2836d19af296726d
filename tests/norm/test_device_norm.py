"""Normalization as a device computes it: the numbers of the CPU, without copies, in float32 or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lnbench.models.classifier import Classifier, Precision
from lnbench.norm import grouped, stats, wrap
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.types import InputNormalization
from tests.device import Device, Traffic

MOST = 1.3  # bytes moved, of those in mode fixed
WEIGHT = torch.linspace(0.5, 2, 32).view(4, 8)
BIAS = torch.linspace(-1, 1, 32).view(4, 8)

COMPUTED: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]] = {
    "image": lambda x, w, b: stats.image_statistics(x),
    "batch": lambda x, w, b: stats.batch_statistics(x),
    "groups": lambda x, w, b: stats.batch_statistics(x, 4),
    "normalized images": lambda x, w, b: (grouped.normalize_images(x, w[0], b[0], 1e-5),),
    "normalized groups": lambda x, w, b: (grouped.normalize_by_groups(x, w, b, 1e-5),),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", COMPUTED)
def test_a_device_finds_the_cpus_numbers(name: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    draws = torch.Generator().manual_seed(1)
    x = (torch.randn(12, 8, 9, 7, generator=draws) * 3 + 20).to(dtype).contiguous(memory_format=layout)
    with torch.no_grad():
        here = COMPUTED[name](x, WEIGHT, BIAS)
        with Device() as gpu:
            operands = [tensor.to("cuda") for tensor in (x, WEIGHT, BIAS)]
            gpu.clear()
            there = COMPUTED[name](*operands)
            assert not gpu.waits
            found = [values.cpu() for values in there]
    for expected, values in zip(here, found, strict=True):
        assert values.dtype == expected.dtype and values.stride() == expected.stride()
        # One rounding to the output's precision; float32 sums differ in their order.
        torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("name", COMPUTED)
def test_statistics_keep_their_digits_beside_a_large_mean(name: str) -> None:
    """A difference of raw moments would lose them: the variance is a millionth of the squared mean."""
    x = 1000 + torch.arange(64.0).view(1, 1, 8, 8).expand(4, 8, 8, 8).contiguous() % 2
    with torch.no_grad(), Device():
        found = COMPUTED[name](*(t.to("cuda") for t in (x.half(), WEIGHT, BIAS)))[-1].cpu()
    assert torch.isfinite(found).all()
    if "normalized" not in name:
        torch.testing.assert_close(found, torch.full_like(found, 0.25))


def moved(network: nn.Module, mode: str, precision: Precision = "bf16", side: int = 224) -> Traffic:
    """What a pass over 256 images launches and moves on a device, computed from shapes alone."""
    classifier = Classifier(network, InputNormalization(), device="meta", precision=precision)
    layers = wrap.attach(network)
    layers.use(parse(mode), State())
    pixels = torch.empty(256, 3, side, side, dtype=torch.uint8, device="meta")
    with torch.no_grad(), Traffic() as traffic:
        classifier.logits(pixels)
    layers.detach()
    return traffic


@pytest.mark.parametrize("mode", ["local", "blend:N=16", "blend:N=16,scope=batch"])
def test_a_mode_moves_little_more_than_fixed(mode: str) -> None:
    from torchvision.models import resnet50

    network = resnet50()
    assert moved(network, mode).bytes <= MOST * moved(network, "fixed").bytes


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_groups_of_localnorm_are_not_copied(precision: Precision) -> None:
    from lnbench.norm.convert import convert_localnorm
    from lnbench.norm.localnorm import LocalNorm2d

    network = convert_localnorm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten()), groups=4)
    assert any(isinstance(layer, LocalNorm2d) for layer in network)
    size = {"bf16": 2, "fp32": 4}[precision]
    maps = 256 * 8 * 30 * 30 * size
    by_groups, stored = (moved(network, mode, precision, side=32) for mode in ("batch", "fixed"))
    # Read for the mean and for the variance, beside what stored statistics take too.
    assert by_groups.bytes - stored.bytes <= 2.05 * maps
