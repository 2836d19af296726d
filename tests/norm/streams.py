"""Streams through modes that learn, and through what their authors published, side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm import real
from tests.norm.networks import Plain, build, fingerprint, images

# Untrained networks are unsure of everything; with heads so much larger, of some images only.
SURER = {"plain": 12, "grouped": 12, "resnet18": 12}
EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}


class Run(NamedTuple):
    """Logits of every batch, what the mode kept, and the weights and biases it came to, by name."""

    logits: list[Tensor]
    state: State
    weights: dict[str, Tensor]


def drifting(dtype: torch.dtype = torch.float32, count: int = 8, size: int = 16) -> list[Tensor]:
    """Batches whose statistics drift away from the stored ones."""
    return [images(size, 16, seed=seed).to(dtype) * (1 + seed / 8) + seed / 16 for seed in range(count)]


def grouped(dtype: torch.dtype) -> nn.Module:
    """A network with GroupNorm, its weights not trivial."""
    torch.manual_seed(2)
    network = Plain(lambda channels: nn.GroupNorm(2, channels))
    for layer in (network.norm1, network.norm2):
        nn.init.uniform_(layer.weight, 0.4, 0.8)
        nn.init.normal_(layer.bias, std=0.3)
    return network.eval().to(dtype)


def case(name: str, shared: Path | None, dtype: torch.dtype) -> tuple[nn.Module, list[Tensor]]:
    """A network by name, and a stream that is not what it stored."""
    if name == "resnet20":
        assert shared is not None
        return real.resnet20(shared, dtype), real.batches(shared, dtype)
    network = grouped(dtype) if name == "grouped" else build(name).to(dtype)
    with torch.no_grad():
        (network.fc if name == "resnet18" else network.head).weight.mul_(SURER[name])
    return network, drifting(dtype)


def along(network: nn.Module, text: str, stream: list[Tensor], state: State | None = None) -> Run:
    """A stream through a mode; the network must come out as it went in."""
    mode, state = parse(text), state or State()
    network = network.requires_grad_(False)
    before = fingerprint(network)
    layers = attach(network, own=mode.is_learning)

    def forward(x: Tensor) -> Tensor:
        layers.use(mode, state)
        return network(x)

    logits: list[Tensor] = []

    def recorded(x: Tensor) -> Tensor:
        logits.append(forward(x))
        return logits[-1]

    answers = []
    with torch.no_grad():
        mode.begin(forward, lambda count, draw: torch.cat(stream)[:count], state)
        for x in stream:
            prediction = mode.predict(recorded, x, state, layers.groups)
            answers.append(prediction.log_probs)
            assert not prediction.log_probs.requires_grad
    layers.detach()
    assert fingerprint(network) == before
    learned = {
        f"{name}.{kind}": values.detach().view(-1)
        for name, pair in state.affine.items()
        for kind, values in zip(("weight", "bias"), pair, strict=True)
    }
    return Run(answers, state, learned)


def published(
    module: ModuleType,
    network: nn.Module,
    stream: list[Tensor],
    make: Callable[[nn.Module, list[Tensor]], nn.Module],
) -> Run:
    """The same through an author's file; `make(network, parameters)` gives the adapting network."""
    network = module.configure_model(copy.deepcopy(network))
    parameters, names = module.collect_params(network)
    adapting = make(network, parameters)
    answers = [adapting(x).detach().log_softmax(1) for x in stream]
    named = dict(network.named_parameters())
    return Run(answers, State(), {name: named[name].detach() for name in names})


def assert_same(ours: Run, theirs: Run, dtype: torch.dtype) -> None:
    """Answers of every batch and final weights, to the tolerance of the type."""
    for number, (one, other) in enumerate(zip(ours.logits, theirs.logits, strict=True)):
        torch.testing.assert_close(
            one, other, rtol=EXACT[dtype], atol=EXACT[dtype], msg=lambda text, n=number: f"batch {n}: {text}"
        )
    assert ours.weights.keys() == theirs.weights.keys()
    for name, values in theirs.weights.items():
        torch.testing.assert_close(
            ours.weights[name],
            values,
            rtol=EXACT[dtype],
            atol=EXACT[dtype],
            msg=lambda text, n=name: n + text,
        )
