"""Fine-tuning: it learns, repeats, goes on after a kill, and does what the recipe says."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lnbench.dist import Processes
from lnbench.errors import CheckpointError, DataError, LnbenchError, UsageError
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.training import finetune
from lnbench.training.finetune import Standing, train
from lnbench.training.recipe import Recipe, rate
from tests.processes import call_world
from tests.training.task import NORMALIZATION, QUICK, fit, network, stripes, trained_by_two, weights


@pytest.mark.parametrize("groups", [None, 4])
def test_training_lowers_the_loss_and_is_right_on_images_it_has_not_seen(groups: int | None) -> None:
    net = network(groups)
    images, labels = stripes(144)
    recipe = Recipe(epochs=12, lr=0.1, batch_size=16, pad=1, seed=1)
    history = train(
        net,
        images[:96],
        labels[:96],
        recipe,
        normalization=NORMALIZATION,
        held_out=(images[96:], labels[96:]),
    )
    assert len(history) == 12
    assert history[-1].loss < 0.6 * history[0].loss
    mode = "batch" if groups else "fixed"
    assert history[-1].held_out is not None and history[-1].held_out[mode] > 0.6  # chance is 0.33
    assert not net.training


@pytest.mark.parametrize("groups", [None, 2])
def test_the_same_seed_gives_the_same_weights_and_another_others(groups: int | None) -> None:
    nets = [network(groups) for _ in range(3)]
    for net, seed in zip(nets, (5, 5, 6), strict=True):
        fit(net, Recipe(epochs=2, batch_size=16, seed=seed))
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))


def test_training_leaves_the_global_generator_alone() -> None:
    net = network()
    state = torch.get_rng_state()
    fit(net)
    assert torch.equal(torch.get_rng_state(), state)


class Stop(Exception):
    """Stands for whatever ends a process in the middle of an epoch."""


@pytest.mark.parametrize("groups", [None, 2])
def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    groups: int | None, tmp_path: Path
) -> None:
    undisturbed, resumed = network(groups), network(groups)
    expected = fit(undisturbed)

    def stop(progress: Standing) -> None:
        if progress.epoch == 1:
            raise Stop

    state = tmp_path / "state.pth"
    with pytest.raises(Stop):
        fit(network(groups), state=state, report=stop)
    history = fit(resumed, state=state)
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert history == expected


def _killed_after_an_epoch(state: Path) -> None:
    def report(progress: Standing) -> None:
        if progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    fit(network(2), state=state, report=report)


def test_a_killed_process_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    state = tmp_path / "state.pth"
    (killed,) = call_world([partial(_killed_after_an_epoch, state)], tmp_path)
    assert killed.code == -signal.SIGKILL, killed.err
    assert state.exists()
    resumed, undisturbed = network(2), network(2)
    epochs: list[int] = []
    fit(resumed, state=state, report=lambda progress: epochs.append(progress.epoch))
    fit(undisturbed)
    assert epochs == [2]
    assert torch.equal(weights(resumed), weights(undisturbed))


def test_a_state_of_other_settings_or_another_origin_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.pth"
    fit(network(), Recipe(epochs=1, batch_size=16), state=state, origin="a")
    for recipe, origin in ((Recipe(epochs=2, batch_size=16), "a"), (Recipe(epochs=1, batch_size=16), "b")):
        with pytest.raises(CheckpointError, match="other settings"):
            fit(network(), recipe, state=state, origin=origin)


@pytest.mark.parametrize("cuts", [1, 2, 4])
def test_smaller_groups_share_the_weight_of_theirs(cuts: int) -> None:
    torch.manual_seed(1)
    layer = LocalNorm2d(5, groups=2)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    x = torch.randn(8, 5, 3, 3, requires_grad=True)
    y = finetune._Regrouped(layer.train())(x, cuts)
    expected = torch.empty_like(x)
    for group in range(2 * cuts):
        part = x[group :: 2 * cuts]
        mean, var = part.mean((0, 2, 3), keepdim=True), part.var((0, 2, 3), keepdim=True, correction=0)
        weight, bias = (values[group % 2].view(1, 5, 1, 1) for values in (layer.weight, layer.bias))
        expected[group :: 2 * cuts] = (part - mean) / (var + layer.eps).sqrt() * weight + bias
    torch.testing.assert_close(y, expected)
    assert layer.groups == 2
    given, wanted = (
        torch.autograd.grad(z.pow(3).sum(), layer.weight, retain_graph=True)[0] for z in (y, expected)
    )
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-3)  # sums of 36 cubes in another order


def test_only_weights_of_convolutions_and_linear_layers_decay() -> None:
    net = network(2)
    decayed, kept = finetune._optimizer(net, QUICK).param_groups
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert [names[id(p)] for p in decayed["params"]] == ["0.weight", "3.weight", "9.weight"]
    assert len(kept["params"]) == 5
    assert decayed["weight_decay"] == QUICK.weight_decay and kept["weight_decay"] == 0


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    rates = [rate(Recipe(lr=0.5, warmup=0.1), step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert rates[55] == pytest.approx(0.25)  # half-way down the cosine
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 0.001


def test_measuring_changes_nothing() -> None:
    net = network(2)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kinds = [type(module) for module in net.modules()]
    accuracy = finetune.measure(net, *stripes(31), NORMALIZATION)
    assert set(accuracy) == {"local", "batch"} and all(0 <= value <= 1 for value in accuracy.values())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [type(module) for module in net.modules()] == kinds and all(m.training for m in net.modules())


@pytest.mark.parametrize(
    ("error", "text", "groups", "recipe"),
    [
        (DataError, "96 training images are fewer than one batch of 128", None, Recipe()),
        (UsageError, "16 images of a process cannot be cut into 3", 3, QUICK),
        (UsageError, "--group-images 3 does not divide", 2, Recipe(batch_size=16, group_images=(1, 3))),
        (UsageError, "no LocalNorm groups", None, Recipe(batch_size=16, group_images=(1,))),
        (UsageError, "at least 1 epoch", None, Recipe(epochs=0)),
        (UsageError, "learning rate above 0", None, Recipe(lr=float("nan"))),
        (LnbenchError, "the loss became (nan|inf).*smaller --lr", None, Recipe(lr=1e30, batch_size=16)),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(
    error: type[LnbenchError], text: str, groups: int | None, recipe: Recipe
) -> None:
    with pytest.raises(error, match=text) as raised:
        fit(network(groups), recipe)
    assert "\n" not in str(raised.value)


def plain() -> nn.Module:
    """A network without norm layers: the mean of two halves' gradients is then the whole's."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


SHARED = Recipe(epochs=2, lr=0.1, batch_size=16, pad=1)


def _train_plain(processes: Processes) -> nn.Module:
    net = plain()
    fit(net, SHARED, processes=processes)
    return net


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    together, alone = plain(), plain()
    together.load_state_dict(trained_by_two(_train_plain, tmp_path))
    fit(alone, SHARED)
    # float32 sums in another order, over 12 steps
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-4, atol=1e-5)
