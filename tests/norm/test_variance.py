"""`var=unbiased`: one option of every mode of which a published one is defined with that variance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm.networks import build, images


def run(network: nn.Module, text: str, x: Tensor) -> Tensor:
    layers, state, mode = attach(network), State(), parse(text)
    with torch.no_grad():
        layers.use(mode, state)
        mode.begin(network, lambda count, number: x[:count], state)
        y = network(x)
    layers.detach()
    return y


def layer() -> nn.Sequential:
    """One norm layer with statistics that are not trivial."""
    norm = nn.BatchNorm2d(3).eval()
    norm.running_mean.copy_(torch.tensor([0.5, -0.2, 0.1]))
    norm.running_var.copy_(torch.tensor([2.0, 0.5, 1.3]))
    return nn.Sequential(norm, nn.Identity()).eval()


def of_image(x: Tensor, correction: int) -> Tensor:
    return x.var((2, 3), correction=correction)


def of_batch(x: Tensor, correction: int) -> Tensor:
    return x.var((0, 2, 3), correction=correction)[None]


@pytest.mark.parametrize(
    ("text", "share", "var", "mean"),
    [
        ("local", 1.0, of_image, (2, 3)),
        ("blend:N=3", 0.25, of_image, (2, 3)),
        ("blend:N=4,scope=batch", 0.5, of_batch, (0, 2, 3)),
        ("adapt:n=4", 1.0, of_batch, (0, 2, 3)),
        ("ema:m=0.3", 0.3, of_batch, (0, 2, 3)),
    ],
)
@pytest.mark.parametrize("name", ["biased", "unbiased"])
def test_the_variance_is_divided_by_n_or_by_one_less(
    text: str, share: float, var: Callable[[Tensor, int], Tensor], mean: tuple[int, ...], name: str
) -> None:
    network, x = layer(), images(4, 5)  # maps of 25 pixels: the two differ by 1 % to 4 %
    typed = f"{text}{',' if ':' in text else ':'}var={name}"
    stored_mean, stored_var = network[0].running_mean, network[0].running_var
    mixed = stored_var + share * (var(x, int(name == "unbiased")) - stored_var)
    centre = stored_mean + share * (x.mean(mean).view(-1, 3) - stored_mean)
    wanted = (x - centre[..., None, None]) / (mixed[..., None, None] + network[0].eps).sqrt()
    torch.testing.assert_close(run(network, typed, x), wanted, rtol=1e-5, atol=1e-5)


def test_iabn_without_tolerance_is_local_with_that_variance() -> None:
    network, x = build("resnet18").double(), images(5).double()
    torch.testing.assert_close(
        run(network, "iabn:k=0", x), run(network, "local:var=unbiased", x), rtol=1e-10, atol=1e-10
    )


def test_a_single_value_has_no_variance_either_way() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)).eval()
    x = images(3)
    with pytest.warns(UserWarning, match="layer '1'"):
        y = run(network, "local:var=unbiased", x)
    assert torch.equal(y, torch.zeros_like(y))


def test_the_usual_variance_is_not_in_the_name() -> None:
    assert str(parse("blend:var=biased")) == "blend:N=16"
    assert str(parse("adapt:var=unbiased,n=8")) == "adapt:n=8,var=unbiased"
