from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lnbench.errors import UsageError
from lnbench.norm.layer import replace
from lnbench.norm.modes.ema import weight
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm import official, real
from tests.norm.networks import build, fingerprint, images

BATCHES = 8
EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture(autouse=True)
def no_gradients() -> object:
    with torch.no_grad():
        yield


def batches(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Batches whose statistics drift away from the stored ones."""
    return [images(16, 16, seed=seed).to(dtype) * (1 + seed / 8) + seed / 16 for seed in range(BATCHES)]


def along(network: nn.Module, mode: str, stream: list[Tensor]) -> list[Tensor]:
    """The logits of every batch of a stream in a mode; the network comes out as it was."""
    before = fingerprint(network)
    layers, state = attach(network), State()
    layers.use(parse(mode), state)
    logits = [network(x) for x in stream]
    layers.detach()
    assert fingerprint(network) == before
    return logits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["plain", "resnet20"])
def test_ema_is_the_robust_batchnorm_of_rotta(
    shared: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, name: str
) -> None:
    theirs = official.load(shared, "rotta/bn_layers.py", monkeypatch)
    stream = batches(dtype) if name == "plain" else real.batches(shared, dtype)
    network = build(name).to(dtype) if name == "plain" else real.resnet20(shared, dtype)
    ours = along(network, "ema:m=0.2", stream)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    replace(network, {id(layer): theirs.RobustBN2d(layer, 0.2) for layer in layers}).train()
    for x, logits in zip(stream, ours, strict=True):
        torch.testing.assert_close(logits, network(x), rtol=EXACT[dtype], atol=EXACT[dtype])


def test_ema_is_the_average_of_what_each_layer_sees_whatever_starts_it_and_whenever_it_is_used() -> None:
    """By hand on one layer: start=first begins with the first batch, use=before lags by one batch."""
    layer = nn.BatchNorm2d(3).eval()
    layer.running_mean.copy_(torch.tensor([1.0, -1.0, 0.5]))
    layer.running_var.copy_(torch.tensor([2.0, 0.5, 1.0]))
    stream = batches()
    for start in ("stored", "first"):
        for use in ("after", "before"):
            network = nn.Sequential(copy.deepcopy(layer), nn.Flatten())
            layers, state = attach(network), State()
            layers.use(parse(f"ema:m=0.3,start={start},use={use}"), state)
            mean, var = layer.running_mean.clone(), layer.running_var.clone()
            for number, x in enumerate(stream):
                new = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
                if number == 0 and start == "first":
                    mean, var = new
                before = mean, var
                mean, var = 0.7 * mean + 0.3 * new[0], 0.7 * var + 0.3 * new[1]
                used = (mean, var) if use == "after" else before
                wanted = (x - used[0].view(1, 3, 1, 1)) / (used[1].view(1, 3, 1, 1) + layer.eps).sqrt()
                torch.testing.assert_close(network(x), wanted.flatten(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "same"),
    [
        ("ema:m=0", "fixed"),
        ("ema:m=1", "batch"),
        ("ema:m=1,start=first", "batch"),
        ("ema:m=0.1,decay=1", "ema:m=0.105"),
        ("ema:m=1,decay=0", "ema:m=0.005"),
    ],
)
def test_ema_at_its_ends(mode: str, same: str) -> None:
    for ours, wanted in zip(
        along(build("plain"), mode, batches()), along(build("plain"), same, batches()), strict=True
    ):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_a_first_batch_without_a_past_is_batch() -> None:
    first, second = batches()[:2]
    for use in ("after", "before"):
        got = along(build("plain"), f"ema:start=first,use={use}", [first, second])
        torch.testing.assert_close(got[0], along(build("plain"), "batch", [first])[0], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(got[1], along(build("plain"), "batch", [second])[0], atol=1e-3)


def test_ema_works_on_single_images_and_depends_on_their_order() -> None:
    stream = list(images(6, 32).split(1))
    forward = along(build("plain"), "ema", stream)
    backward = along(build("plain"), "ema", stream[::-1])[::-1]
    assert all(torch.isfinite(logits).all() for logits in forward)
    assert not torch.allclose(torch.cat(forward), torch.cat(backward), atol=1e-4)


def test_the_schedule_of_dua() -> None:
    """Its first weights as its authors' code gives them: 0.099, 0.0934, …, 0.0589 at 10, 0.0134 at 40."""
    found = {number: round(weight(number, 0.1, 0.94), 4) for number in (1, 2, 10, 40, 80)}
    assert found == {1: 0.099, 2: 0.0934, 10: 0.0589, 40: 0.0134, 80: 0.0057}


@pytest.mark.parametrize("option", ["m", "decay"])
def test_weights_lie_between_0_and_1(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} must be a number from 0 to 1, not 1.5"):
        parse(f"ema:{option}=1.5")
