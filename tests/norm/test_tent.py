from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from lnbench.errors import UsageError
from lnbench.norm.convert import convert_localnorm
from lnbench.norm.gradient import Diverged
from lnbench.norm.modes.registry import Setting, parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm import official
from tests.norm.networks import build
from tests.norm.streams import along, assert_same, case, drifting, grouped, published

DTYPES = [torch.float64, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("plain", "tent:lr=0.01"),
        ("plain", "tent:lr=0.001,optimizer=adam"),
        ("plain", "tent:lr=0.01,steps=3"),
        ("plain", "tent:lr=0.01,steps=2,reset=batch"),
        ("resnet20", "tent:lr=0.00025"),
        ("resnet20", "tent:lr=0.001,optimizer=adam"),
    ],
)
def test_tent_is_its_authors(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: str, dtype: torch.dtype
) -> None:
    theirs = official.load(shared, "tent/tent.py", monkeypatch)
    network, stream = case(name, shared, dtype)
    options = parse(mode).options

    def make(configured: torch.nn.Module, parameters: list[torch.Tensor]) -> torch.nn.Module:
        lr = options["lr"]
        if options["optimizer"] == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr)
        else:
            optimizer = torch.optim.SGD(parameters, lr, momentum=0.9)
        return theirs.Tent(configured, optimizer, options["steps"], options["reset"] == "batch")

    wanted = published(theirs, network, stream, make)
    got = along(network, mode, stream)
    assert_same(got, wanted, dtype)


def test_the_first_answer_is_that_of_batch_and_the_order_matters() -> None:
    stream = drifting(count=4)
    batch = along(build("plain"), "batch", stream).logits
    forward = along(build("plain"), "tent:lr=0.05", stream).logits
    backward = along(build("plain"), "tent:lr=0.05", stream[::-1]).logits[::-1]
    assert torch.equal(forward[0], batch[0]) and torch.equal(backward[-1], batch[-1])
    assert not torch.allclose(forward[-1], batch[-1], atol=1e-3)
    assert not torch.allclose(forward[1], backward[1], atol=1e-3)


def test_without_steps_to_speak_of_it_is_batch() -> None:
    stream = drifting(count=3)
    tent, batch = (along(build("plain"), mode, stream).logits for mode in ("tent:lr=0", "batch"))
    assert all(torch.equal(*pair) for pair in zip(tent, batch, strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_reset_is_a_fresh_run(optimizer: str) -> None:
    stream, text = drifting(count=7), f"tent:lr=0.02,optimizer={optimizer}"
    whole = along(build("plain"), f"{text},reset=3", stream)
    parts = [along(build("plain"), text, part) for part in (stream[:3], stream[3:6], stream[6:])]
    for got, wanted in zip(whole.logits, [y for part in parts for y in part.logits], strict=True):
        assert torch.equal(got, wanted)
    assert (whole.state.counts["resets"], whole.state.counts["updates"]) == (2, 7)
    assert all(torch.equal(whole.weights[name], parts[-1].weights[name]) for name in whole.weights)


def test_a_state_that_lives_on_goes_on_or_is_reset_by_the_condition() -> None:
    first, second = drifting(count=4)[:2], drifting(count=4)[2:]
    whole = along(build("plain"), "tent:lr=0.05", first + second).logits
    for reset, wanted in (
        ("never", whole[2:]),
        ("condition", along(build("plain"), "tent:lr=0.05", second).logits),
    ):
        state = along(build("plain"), f"tent:lr=0.05,reset={reset}", first).state
        kept = along(build("plain"), f"tent:lr=0.05,reset={reset}", second, state).logits
        assert all(torch.equal(*pair) for pair in zip(kept, wanted, strict=True))


def test_groupnorm_layers_learn_too_and_layers_can_be_picked() -> None:
    network, stream = grouped(torch.float32), drifting(count=4)
    fixed = along(network, "fixed", stream)
    tent = along(network, "tent:lr=0.05", stream)
    assert set(tent.weights) == {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"}
    assert torch.equal(tent.logits[0], fixed.logits[0])
    assert not torch.allclose(tent.logits[-1], fixed.logits[-1], atol=1e-3)
    assert set(along(network, "tent:layers=first1", stream).weights) == {"norm1.weight", "norm1.bias"}
    one = along(network, "batch", stream)
    assert all(torch.equal(*pair) for pair in zip(one.logits, fixed.logits, strict=True))


def test_each_group_of_localnorm_layers_learns_by_itself() -> None:
    network, stream = convert_localnorm(build("plain"), 2), drifting(count=3)
    tent, batch = (along(network, mode, stream) for mode in ("tent:lr=1", "batch"))
    assert torch.equal(tent.logits[0], batch.logits[0])
    weight = tent.state.affine["norm1"][0]
    assert weight.shape == (2, 6) and not torch.allclose(weight[0], weight[1], atol=1e-6)


def test_layers_around_groupnorm_change_nothing_and_go_away() -> None:
    network, x = grouped(torch.float32), drifting(count=1)[0]
    reference = copy.deepcopy(network)
    with torch.no_grad():
        layers = attach(network, own=True)
        assert (len(layers), len(layers.own), layers.all_names) == (0, 2, ("norm1", "norm2"))
        assert torch.equal(network(x), reference(x))
        layers.use(parse("batch"))
        assert torch.equal(network(x), reference(x))
        network.train()
        assert torch.equal(network(x), reference(x))
        layers.detach()
    assert [type(module) for module in network.modules()] == [type(module) for module in reference.modules()]


def test_a_loss_that_is_no_number_stops() -> None:
    network, stream = build("plain"), drifting(count=3)
    stream[2] = stream[2] * torch.nan
    with pytest.raises(Diverged, match="not finite after 2 steps"):
        along(network, "tent", stream)


@pytest.mark.parametrize(
    ("mode", "setting", "words"),
    [
        ("tent:reset=batch", None, "mode batch"),
        ("tent", Setting(("bn",), (), 1, 1, 800), "mode local"),
        ("tent", Setting(("bn",), ("bn",), 4, 10, 800), "4 groups"),
        ("tent", Setting(("bn",), ("bn",), 4, 100, 810), "4 groups"),
    ],
)
def test_what_would_be_another_mode_is_refused(mode: str, setting: Setting | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(mode).refuse(setting)
    assert "\n" not in str(caught.value)


def test_single_images_are_no_reason_where_no_layer_takes_the_batchs_statistics() -> None:
    parse("tent").refuse(Setting((), (), 1, 1, 800, ("norm1",)))
    parse("tent:reset=batch,steps=2").refuse(Setting(("bn",), (), 1, 100, 800))


def test_sixteen_bits_learn_in_32() -> None:
    for network in (build("plain"), grouped(torch.float32)):
        state = along(network.to(torch.bfloat16), "tent", drifting(torch.bfloat16, count=2)).state
        assert {values.dtype for pair in state.affine.values() for values in pair} == {torch.float32}


def test_state_begins_empty() -> None:
    assert not State().affine and not State().extra and not State().counts
