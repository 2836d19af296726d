"""Distillation: a converted network learns what its original predicts, from pixels alone."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lnbench.dist import ALONE, Processes
from lnbench.errors import CheckpointError, UsageError
from lnbench.norm.convert import convert_localnorm
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.training import distill
from lnbench.training.finetune import Standing
from lnbench.training.recipe import Recipe
from tests.training.task import NORMALIZATION, fit, network, stripes, trained_by_two, weights

QUICK = Recipe(epochs=2, lr=0.05, batch_size=16, pad=1)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    """A network that has learned something and whose stored statistics fit its weights."""
    net = network()
    fit(net, Recipe(epochs=8, lr=0.1, batch_size=16, pad=1))
    return net


def student(teacher: nn.Module, layers: tuple[str, ...] = ("1",)) -> nn.Module:
    return convert_localnorm(copy.deepcopy(teacher), groups=1, layers=layers)


def teach(
    net: nn.Module, teacher: nn.Module, recipe: Recipe = QUICK, **options: object
) -> tuple[dict[str, float], list[Standing]]:
    images, _ = stripes(112)
    return distill.train(
        net, teacher, images[:96], images[96:], recipe, normalization=NORMALIZATION, **options
    )  # type: ignore[arg-type]


def kl_by_hand(net: nn.Module, teacher: nn.Module, images: np.ndarray) -> float:
    """Σ p log(p / q), mean over the images, in float64 and a loop; pixels are normalized by hand too."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (NORMALIZATION.mean, NORMALIZATION.std))
    total = 0.0
    with torch.no_grad():
        for image in images:
            x = ((torch.from_numpy(image) / 255 - mean) / std)[None].float()
            p = teacher.eval()(x).double().softmax(-1)
            q = net.eval()(x).double().softmax(-1)
            total += float((p * (p / q).log()).sum())
    return total / len(images)


def test_the_loss_is_the_divergence_of_the_predictions_for_single_images(teacher: nn.Module) -> None:
    net = student(teacher)
    images, _ = stripes(112)
    expected = kl_by_hand(student(teacher), teacher, images[:96])
    still = Recipe(epochs=1, lr=1e-12, batch_size=96, pad=0, flip=False)
    _, history = teach(net, teacher, still)
    assert history[0].loss == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


def test_it_brings_the_predictions_nearer_to_the_teachers(teacher: nn.Module) -> None:
    net = student(teacher)
    images, _ = stripes(112)
    far = kl_by_hand(net, teacher, images[96:])
    recipe = Recipe(epochs=8, lr=0.05, batch_size=16, pad=1)
    before, history = teach(net, teacher, recipe, trained="all")
    assert kl_by_hand(net, teacher, images[96:]) < 0.3 * far
    assert set(before) == set(distill.MODES) == set(history[-1].held_out or {})


@pytest.mark.parametrize("trained", ["norm", "all"])
def test_only_what_is_to_learn_moves_and_the_teacher_stays(teacher: nn.Module, trained: str) -> None:
    net, untouched = student(teacher), copy.deepcopy(teacher)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    teach(net, teacher, trained=trained)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, first[name])}
    local = {f"{name}.{part}" for name, layer in net.named_modules() if isinstance(layer, LocalNorm2d)
             for part in ("weight", "bias")}  # fmt: skip
    assert moved == (local if trained == "norm" else {name for name, _ in net.named_parameters()})
    assert torch.equal(weights(teacher), weights(untouched))
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_distillation_that_was_interrupted_ends_with_the_same_weights(
    teacher: nn.Module, tmp_path: Path
) -> None:
    undisturbed, resumed, state = student(teacher), student(teacher), tmp_path / "state.pth"
    _, expected = teach(undisturbed, teacher)

    def stop(standing: Standing) -> None:
        if standing.epoch == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        teach(student(teacher), teacher, state=state, origin="a", report=stop)
    _, history = teach(resumed, teacher, state=state, origin="a")
    assert torch.equal(weights(resumed), weights(undisturbed)) and history == expected
    with pytest.raises(CheckpointError, match="other settings"):
        teach(student(teacher), teacher, state=state, origin="b")


def _teach_an_untrained(processes: Processes) -> nn.Module:
    teacher = network().eval()
    learner = student(teacher)
    teach(learner, teacher, processes=processes)
    return learner


def test_two_processes_distill_as_one_does(tmp_path: Path) -> None:
    together = student(network().eval())
    together.load_state_dict(trained_by_two(_teach_an_untrained, tmp_path))
    alone = _teach_an_untrained(ALONE)
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-4, atol=1e-5)


def test_several_groups_are_refused(teacher: nn.Module) -> None:
    net = convert_localnorm(copy.deepcopy(teacher), groups=2)
    with pytest.raises(UsageError, match="one group"):
        teach(net, teacher)
