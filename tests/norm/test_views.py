"""`views=m`: an image's statistics taken over itself and m views of it; nothing else decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lnbench.errors import UsageError
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.views import with_views
from lnbench.norm.wrap import attach
from tests.norm.networks import build, images


def run(network: nn.Module, text: str, x: Tensor) -> Tensor:
    """Log-probabilities, float32 (B, classes)."""
    layers, state, mode = attach(network), State(), parse(text)

    def forward(pixels: Tensor) -> Tensor:
        layers.use(mode, state)
        return network(pixels)

    with torch.no_grad():
        found = mode.predict(forward, x, state, layers.groups)
    layers.detach()
    return found.log_probs


def test_views_are_shifted_and_mirrored_pixels_of_their_image() -> None:
    ramp = torch.arange(40 * 32, dtype=torch.int32).view(1, 1, 40, 32).repeat(2, 3, 1, 1)
    found = with_views(ramp, 6)
    assert found.dtype == ramp.dtype and found.shape == (14, 3, 40, 32)
    assert torch.equal(found[:2], ramp) and torch.equal(found[2], found[3])
    seen = set()
    for number, view in enumerate(found[2::2], 1):
        rows, columns = view[0] // 32, view[0] % 32
        down, right = int(rows[20, 0]) - 20, int(columns[0, 15 if number % 2 else 16]) - 16
        assert abs(down) <= 5 and abs(right) <= 4
        assert bool((rows == rows[:, :1]).all()) and bool((columns == columns[:1]).all())
        assert bool((columns[0].diff() >= 0).sum() < 8) == bool(number % 2)  # mirrored
        seen.add((down, right, number % 2))
    assert len(seen) == 6


@pytest.mark.parametrize("var", ["biased", "unbiased"])
def test_the_statistics_are_those_of_the_image_and_its_views(var: str) -> None:
    network, x = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()).eval(), images(3, 16)
    whole = with_views(x, 4).view(5, 3, 3, 16, 16).transpose(0, 1)  # (B, views, C, H, W)
    mean, variance = whole.mean((1, 3, 4)), whole.var((1, 3, 4), correction=int(var == "unbiased"))
    wanted = (x - mean[..., None, None]) / (variance[..., None, None] + network[0].eps).sqrt()
    torch.testing.assert_close(
        run(network, f"local:views=4,var={var}", x), wanted.flatten(1).log_softmax(1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("mode", ["local:views=3", "blend:N=4,views=3"])
def test_one_image_has_one_answer(mode: str) -> None:
    network, x = build("resnet18"), images(5)
    whole = run(network, mode, x)
    for size in (1, 2):
        parts = torch.cat([run(network, mode, part) for part in x.split(size)])
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=5e-4)
    assert not torch.allclose(whole, run(network, mode.replace("views=3", "views=1"), x), atol=1e-3)


def test_the_ends_of_the_blend() -> None:
    network, x = build("plain"), images(4)
    torch.testing.assert_close(
        run(network, "blend:N=0,views=2", x), run(network, "local:views=2", x), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        run(network, "blend:N=1e12,views=2", x), run(network, "fixed", x), rtol=1e-4, atol=1e-4
    )


def test_what_views_cost_and_where_there_are_none() -> None:
    assert parse("local:views=3").passes(2) == 8 and parse("blend:views=3").passes(1) == 4
    assert parse("blend").is_plain and not parse("blend:views=1").is_plain
    with pytest.raises(UsageError, match="views are of single images"):
        parse("blend:scope=batch,views=2")
