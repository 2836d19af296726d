"""A mode for one's own loop: the mode's answers inside, the old network outside, whatever happens."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import lnbench
from lnbench.data.demo import open_demo
from lnbench.errors import UsageError
from lnbench.models.load import load
from lnbench.norm import convert
from lnbench.norm.modes.registry import parse
from lnbench.norm.session import InMode
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.evaluate import throwaway  # noqa: F401 – registers modes that adapt along a stream

MODES = ("fixed", "batch", "local:layers=first1", "blend:N=16", "test-average:share=0.5", "adapt:n=8")


def untouched(module: nn.Module, inputs: object, output: Tensor) -> None:
    """A hook of the user's."""


def demo(name: str = "demo") -> nn.Module:
    """The demo's network with its weights, as a person would have it in the middle of training."""
    network = load(name, before_fit=convert.convert_like).network.train()
    next(network.modules()).eval()  # the flags of the submodules differ
    for number, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(number % 3 > 0)
        parameter.grad = torch.full_like(parameter, 0.5) if number % 2 else None
    network.register_forward_hook(untouched)
    return network


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    pixels = torch.from_numpy(open_demo("test")[0][::20])  # (24, 3, 64, 64)
    return (pixels.float() / 255 - 0.45) / 0.25


def answers(network: nn.Module, mode: str, inputs: Tensor) -> Tensor:
    """By the rooms below: attach, switch, begin, predict."""
    twin = copy.deepcopy(network).eval()
    layers, state, parsed = attach(twin), State(), parse(mode)
    layers.use(parsed, state)
    with torch.no_grad():
        parsed.begin(twin, lambda count, draw: inputs[:count], state)
        return parsed.predict(twin, inputs, state, layers.groups).log_probs


def portrait(network: nn.Module) -> list[object]:
    """Everything that must be as it was."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [
        [(name, id(module), module.training, list(module._modules), list(module._forward_hooks))
         for name, module in network.named_modules()],
        [(name, id(t), t.data_ptr(), t.dtype, t.stride(), t.requires_grad, t.device) for name, t in tensors],
        [(id(p.grad), None if p.grad is None else float(p.grad.sum())) for p in network.parameters()],
        [t.detach().double().sum().item() for _, t in tensors],
        sorted(network.__dict__),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_inside_the_answers_are_the_modes_and_behind_it_the_network_is_its_old_self(
    inputs: Tensor, mode: str
) -> None:
    network = demo()
    before = portrait(network)
    with lnbench.norm_mode(network, mode, inputs=inputs) as same, torch.no_grad():
        assert same is network and not network.training
        found = network(inputs).log_softmax(1)
    assert torch.equal(found, answers(network, mode, inputs))
    assert portrait(network) == before
    with pytest.raises(KeyboardInterrupt), lnbench.norm_mode(network, mode, inputs=inputs):
        network(inputs[:8])
        raise KeyboardInterrupt
    assert portrait(network) == before


@pytest.mark.parametrize("mode", [*MODES, "test-steps:rate=0.1"])
def test_a_module_to_keep_answers_the_same_and_can_be_saved(inputs: Tensor, mode: str) -> None:
    network = demo()
    before = portrait(network)
    kept = lnbench.with_mode(network, mode, inputs=inputs)
    assert portrait(network) == before and mode.split(":")[0] in repr(kept)
    file = io.BytesIO()
    torch.save(kept, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert isinstance(again, InMode)
    with torch.no_grad():
        found = kept(inputs).log_softmax(1)
        assert torch.allclose(found, answers(network, mode, inputs), atol=1e-6)
        assert torch.equal(again(inputs).log_softmax(1), found)


def test_a_mode_of_several_passes_gives_log_probabilities(inputs: Tensor) -> None:
    network = demo("demo:localnorm")
    want = answers(network, "local:vote=mean", inputs)
    before = portrait(network)
    with lnbench.norm_mode(network, "local:vote=mean"), torch.no_grad():
        assert torch.equal(network(inputs), want)
        assert float(network(inputs).exp().sum(1).sub(1).abs().max()) < 1e-5
    assert portrait(network) == before
    with torch.no_grad():
        assert torch.equal(lnbench.with_mode(network, "local:vote=mean")(inputs), want)


def test_gradients_flow_in_the_block_and_those_of_before_are_kept(inputs: Tensor) -> None:
    network = demo()
    held = [parameter.grad for parameter in network.parameters()]
    with lnbench.norm_mode(network, "batch"):
        network(inputs).sum().backward()
        assert any(p.grad is not None for p in network.parameters())
    assert all(p.grad is g for p, g in zip(network.parameters(), held, strict=True))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda n: torch.compile(n, backend="eager")])
def test_wrapped_networks_are_in_the_mode_too(inputs: Tensor, wrap: object) -> None:
    network = demo()
    want = answers(network, "batch", inputs)
    plain = answers(network, "fixed", inputs)
    wrapped = wrap(network.eval())  # type: ignore[operator]
    before = portrait(network)
    with torch.no_grad():
        assert torch.allclose(wrapped(inputs).log_softmax(1), plain, atol=1e-5)
        with lnbench.norm_mode(wrapped, "batch") as same:
            assert same is network
            assert torch.allclose(wrapped(inputs).log_softmax(1), want, atol=1e-5)
        assert torch.allclose(wrapped(inputs).log_softmax(1), plain, atol=1e-5)
    assert portrait(network) == before


def test_what_cannot_be_is_refused_and_leaves_the_network_alone(inputs: Tensor) -> None:
    network = demo()
    before = portrait(network)
    for mode, said in (
        ("bach", "did you mean batch"),
        ("batch:layers=first99", "has only 7 norm layers"),
        ("adapt:n=32", "looks at 32 images first: give them as inputs="),
        ("local:group=3", "no group 3"),
        ("adapt:n=8,draws=2", "leave draws=… out here"),
    ):
        with pytest.raises(UsageError, match=said), lnbench.norm_mode(network, mode):
            pass
    with (
        pytest.raises(UsageError, match="inputs holds 24"),
        lnbench.norm_mode(network, "adapt:n=32", inputs=inputs),
    ):
        pass
    with (
        lnbench.norm_mode(network, "batch"),
        pytest.raises(UsageError, match="is in a normalization mode"),
    ):
        lnbench.with_mode(network, "batch")
    assert portrait(network) == before
