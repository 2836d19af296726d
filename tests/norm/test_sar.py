from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lnbench.norm.modes.registry import Setting, parse
from lnbench.norm.modes.sar import learns, rate
from tests.norm import official
from tests.norm.networks import build
from tests.norm.streams import Run, along, assert_same, case, drifting, published

DTYPES = [torch.float64, torch.float32]
CLASSES = {"plain": 5, "grouped": 5, "resnet18": 10, "resnet20": 10}


def theirs(
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    network: nn.Module,
    stream: list[Tensor],
    classes: int,
) -> tuple[Run, nn.Module]:
    """The stream through the authors' file with a mode's options."""
    module = official.load(shared, "sar/sar.py", monkeypatch)
    sam = official.load(shared, "sar/sam.py", monkeypatch)
    options = parse(text).options
    made: list[nn.Module] = []

    def make(configured: nn.Module, parameters: list[Tensor]) -> nn.Module:
        optimizer = sam.SAM(parameters, torch.optim.SGD, rho=options["rho"], lr=options["lr"], momentum=0.9)
        made.append(module.SAR(configured, optimizer, margin_e0=options["margin"] * math.log(classes)))
        return made[0]

    return published(module, network, stream, make), made[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain", "sar:lr=0.02,margin=0.85"),
        ("plain", "sar:lr=0.02,margin=0.7,rho=0.2"),
        ("grouped", "sar:lr=0.02,margin=0.4"),
        ("resnet18", "sar:lr=0.002,margin=0.3"),
        ("resnet20", "sar:lr=0.00025"),
    ],
)
def test_sar_is_its_authors(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, dtype: torch.dtype
) -> None:
    network, stream = case(name, shared, dtype)
    stream = stream[:3] if name == "resnet18" else stream
    wanted, adapting = theirs(shared, monkeypatch, text, network, stream, CLASSES[name])
    got = along(network, text, stream)
    assert_same(got, wanted, dtype)
    assert 0 < got.state.counts["samples"] < sum(len(x) for x in stream)
    if adapting.ema is not None:
        assert got.state.extra["learned"]["entropy"] == pytest.approx(adapting.ema, rel=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_recovery_as_published_goes_on_firing(
    shared: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that is sure of everything: theirs forgets the weights, not why, and keeps its momentum."""
    network, stream = case("plain", shared, dtype)
    network.head.weight.data *= 30
    text = "sar:lr=0.02,margin=1"
    wanted, _ = theirs(shared, monkeypatch, text, network, stream, 5)
    got = along(network, f"{text},recover=official", stream)
    fired = capsys.readouterr().out.count("reset the model")
    assert got.state.counts["recoveries"] == fired > 1
    for one, other in zip(got.logits, wanted.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    fixed = along(network, text, stream).state
    assert fixed.counts["recoveries"] >= 1


@pytest.mark.parametrize(
    ("lr", "batch", "wanted"),
    [
        ("resnet", 64, 0.00025), ("resnet", 32, 0.00025), ("resnet", 31, 0.000_242_187_5),
        ("resnet", 16, 0.000125), ("resnet", 1, 0.000_015_625), ("vit", 64, 0.001),
        ("vit", 16, 0.00025), ("vit", 1, 0.000_031_25),
        (0.01, 1, 0.01),
    ],
)  # fmt: skip
def test_the_rate_is_that_of_the_authors_scripts(lr: float | str, batch: int, wanted: float) -> None:
    """Worked out by hand from their main.py: 0.00025 / 64 · 2 · batch below 32, 0.001 / 64 · batch."""
    assert rate(lr, batch) == pytest.approx(wanted, rel=1e-12)  # type: ignore[arg-type]


def test_the_rate_is_by_the_batches_of_the_stream_not_by_its_last() -> None:
    first, short, last = drifting(count=3)
    stream = [first, short[:5], last]
    ruled, plain = (along(build("plain"), f"sar:margin=1,lr={lr}", stream) for lr in ("resnet", "0.000125"))
    assert all(torch.equal(*pair) for pair in zip(ruled.logits, plain.logits, strict=True))
    setting = Setting(("bn",), (), 1, 16, 100)
    assert parse("sar:lr=vit").note(setting) == "sar: lr=vit is 0.00025 for batches of 16"
    assert parse("sar").note(setting) is None


def test_after_a_recovery_the_network_is_as_fresh() -> None:
    network, stream = build("plain"), drifting(count=3)
    network.head.weight.data *= 1000
    run = along(network, "sar:lr=0.02,margin=1", stream)
    batch = along(network, "batch", stream)
    assert run.state.counts["recoveries"] == 3 and not run.state.affine
    assert all(torch.equal(*pair) for pair in zip(run.logits, batch.logits, strict=True))


def test_where_nothing_is_reliable_nothing_moves() -> None:
    stream = drifting(count=3)
    run, batch = (along(build("plain"), mode, stream) for mode in ("sar:margin=0,lr=0.1", "batch"))
    assert all(torch.equal(*pair) for pair in zip(run.logits, batch.logits, strict=True))
    assert run.state.counts["samples"] == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layer3.5.bn2", True), ("layer4.0.bn1", False), ("blocks.8.norm1", True), ("blocks.10.norm2", False),
        ("norm", False), ("bn1", True), ("norm1", True), ("stages.3.norm.weight", False),
    ],
)  # fmt: skip
def test_the_last_block_does_not_learn(name: str, said: bool) -> None:
    assert learns(name) == said


def test_layers_that_do_not_learn_take_the_batchs_statistics() -> None:
    stream = drifting(count=3)
    run = along(build("resnet18"), "sar:margin=1,lr=0.05", stream)
    assert run.weights and not any(name.startswith("layer4") for name in run.weights)
    batch = along(build("resnet18"), "batch", stream)
    assert torch.equal(run.logits[0], batch.logits[0])
