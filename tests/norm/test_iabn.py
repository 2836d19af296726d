from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lnbench.norm.modes.iabn import ZERO
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm import official, real
from tests.norm.networks import build, images


@pytest.fixture(autouse=True)
def no_gradients() -> object:
    with torch.no_grad():
        yield


def run(network: nn.Module, mode: str, x: Tensor) -> tuple[Tensor, State]:
    layers, state = attach(network), State()
    layers.use(parse(mode), state)
    logits = network(x)
    layers.detach()
    return logits, state


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("k", [0.5, 4.0])
@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_iabn_is_the_layer_of_note(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, k: float, dtype: torch.dtype, tolerance: float
) -> None:
    conf = official.stub("conf", args=SimpleNamespace(iabn_k=k, skip_thres=1))
    theirs = official.load(shared, "note/iabn.py", monkeypatch, conf=conf)
    if name == "resnet20":
        network, x = real.resnet20(shared, dtype), real.batches(shared, dtype, 1)[0]
    else:
        network, x = build(name).to(dtype), images(8).to(dtype)
    wanted = theirs.convert_iabn(copy.deepcopy(network)).eval()(x)
    torch.testing.assert_close(run(network, f"iabn:k={k}", x)[0], wanted, rtol=tolerance, atol=tolerance)


def test_all_chance_is_fixed_and_no_chance_is_the_image() -> None:
    network, x = build("plain"), images(6)
    torch.testing.assert_close(
        run(network, "iabn:k=1e9", x)[0], run(network, "fixed", x)[0], rtol=1e-5, atol=1e-5
    )
    # The only difference from `local` is the unbiased variance, 1/2304 and 1/576 larger here.
    torch.testing.assert_close(
        run(network, "iabn:k=0", x)[0], run(network, "local", x)[0], rtol=5e-3, atol=5e-3
    )


def test_one_image_has_one_answer() -> None:
    network, x = build("resnet18"), images(6)
    whole = run(network, "iabn", x)[0]
    alone = torch.cat([run(network, "iabn", one)[0] for one in x.split(1)])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=5e-4)


def test_variances_that_come_out_as_nothing_are_counted() -> None:
    """A constant map has variance 0; so far below a stored variance of 1 that, at k = 0, nothing is left."""
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()).eval()
    x = images(4)
    x[1, 2], x[3] = 0.5, -1.0
    assert int(run(network, "iabn:k=0", x)[1].counts[ZERO]) == 4
    assert int(run(network, "iabn:k=1e9", x)[1].counts[ZERO]) == 0


def test_a_map_of_one_pixel_keeps_the_stored_statistics() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten()).eval()
    network[1].running_mean.fill_(0.3)
    x = images(4)
    assert torch.equal(run(network, "iabn:k=0", x)[0], run(network, "fixed", x)[0])
