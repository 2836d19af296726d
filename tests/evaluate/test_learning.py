"""Modes that learn, through the whole evaluation: what stays as it is, what is said, where it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lnbench import config, memory
from lnbench.errors import UsageError
from lnbench.evaluate import evaluation
from lnbench.models.classifier import Classifier
from lnbench.norm.modes.registry import Mode
from lnbench.norm.state import State
from tests.networks import write_task
from tests.norm.networks import fingerprint

LEARNING = ["tent:lr=0.05", "eta:lr=0.05,margin=0.9,d=2", "eata:fisher=30,margin=0.9,d=2", "sar:margin=0.9"]
CONTINUAL, MIXED = {"sequence": "continual"}, {"mixed": True}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def ready(task: tuple[str, str, str], heard: list[str], **options: Any) -> evaluation.Prepared:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise", "contrast"],
              "severities": [5], "batch_size": 40, **options}  # fmt: skip
    resolved = config.resolve(config.load_preset("core"), chosen)
    return evaluation.prepare_all([resolved], observer=evaluation.Observer(warning=heard.append))


def test_after_each_batch_of_a_mode_that_learns_memory_may_go_back(
    task: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[torch.device] = []
    monkeypatch.setattr(memory, "relieve", heard.append)
    prepared = ready(task, [], modes=["fixed", "batch", "ema", "tent:lr=0.05"])
    (done,) = evaluation.evaluate(prepared, [None])
    batches = sum(cell.course.batches for cell in done.record.cells if cell.mode.startswith("tent"))  # type: ignore[union-attr]
    assert heard == [torch.device("cpu")] * batches


@pytest.mark.parametrize("protocol", [{}, CONTINUAL, MIXED])
def test_weights_stay_and_other_modes_do_not_notice(
    task: tuple[str, str, str], tmp_path: Path, protocol: dict[str, Any]
) -> None:
    alone, whole = (
        ready(task, [], modes=modes, **protocol)
        for modes in (["fixed", "batch"], ["tent:lr=0.05", "fixed", *LEARNING[1:], "batch"])
    )
    network = whole.subjects[0].classifier.network
    before = fingerprint(network)
    (company,) = evaluation.evaluate(whole, [tmp_path / "whole"])
    assert fingerprint(network) == before
    (wanted,) = evaluation.evaluate(alone, [tmp_path / "alone"])
    found = {(cell.mode, cell.condition): cell for cell in company.record.cells}
    for cell in wanted.record.cells:
        assert found[cell.mode, cell.condition].scores == cell.scores
    learned = [cell for cell in company.record.cells if cell.mode not in ("fixed", "batch")]
    assert len(learned) == 4 * 3
    assert any(cell.scores["nll"] != found["batch", cell.condition].scores["nll"] for cell in learned)


@pytest.mark.parametrize("protocol", [{}, CONTINUAL, MIXED])
def test_a_mode_that_learns_its_way_out_of_the_numbers_loses_its_cells_alone(
    task: tuple[str, str, str], tmp_path: Path, protocol: dict[str, Any]
) -> None:
    heard: list[str] = []
    modes = ["fixed", "tent:lr=1e37", "batch"]
    observer = evaluation.Observer(warning=heard.append)
    prepared = ready(task, [], modes=modes, **protocol)
    (outcome,) = evaluation.evaluate(prepared, [tmp_path / "run"], observer=observer)
    assert {cell.mode for cell in outcome.record.cells} == {"fixed", "batch"}
    assert len(outcome.record.cells) == 6
    said = [text for text in heard if "not finite" in text]
    assert len(said) == 3 and all(text in outcome.record.deviations for text in said)
    assert said[-1].startswith("contrast/5: --norm tent:lr=1e+37,steps=1: the loss is not finite after ")
    assert said[-1].endswith("the cell is left out")
    assert not outcome.record.summary["tent:lr=1e+37,steps=1"].complete


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("mode", LEARNING)
def test_a_batch_that_does_not_fit_names_one_that_does(
    task: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, backward: bool
) -> None:
    """What is tried is tried on a state of its own: that of the stream takes only the batch too large."""
    logits, gradients, predict = Classifier.logits, torch.autograd.grad, Mode.predict
    seen: list[int] = []
    tried: list[tuple[int, int]] = []

    def forward(self: Classifier, pixels: torch.Tensor, network: Any = None) -> torch.Tensor:
        seen.append(len(pixels))
        if len(pixels) > 30 and not backward:
            raise torch.OutOfMemoryError("out of memory")
        return logits(self, pixels, network)

    def back(*given: Any, **options: Any) -> Any:
        if seen[-1] > 30 and backward:
            raise torch.OutOfMemoryError("out of memory")
        return gradients(*given, **options)

    def noting(self: Mode, forward: Any, pixels: torch.Tensor, state: State, groups: int) -> Any:
        tried.append((id(state), len(pixels)))
        kept.append(state)
        return predict(self, forward, pixels, state, groups)

    kept: list[State] = []  # so that no two have one id
    prepared = ready(task, [], modes=[mode])
    monkeypatch.setattr(Classifier, "logits", forward)
    monkeypatch.setattr(torch.autograd, "grad", back)
    monkeypatch.setattr(Mode, "predict", noting)
    with pytest.raises(UsageError, match=r"a batch of 40 images does not fit .*; --batch-size 20 fits"):
        evaluation.evaluate(prepared, [tmp_path / "run"])
    assert [size for _, size in tried] == [40, 20] and tried[0][0] != tried[1][0]
    assert not kept[0].counts["updates"]


def test_images_that_do_not_fit_at_once_name_their_option(
    task: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    prepared = ready(task, [], modes=[LEARNING[2]])
    monkeypatch.setattr(torch.autograd, "grad", full)
    with pytest.raises(UsageError, match=r"30 images at once do not fit .*; use a smaller fisher$"):
        evaluation.evaluate(prepared, [tmp_path / "run"])


def test_layers_without_stored_statistics_learn_and_the_record_names_those_that_do_not(
    task: tuple[str, str, str], tmp_path: Path
) -> None:
    source = '''
from torch import nn


class Net(nn.Sequential):
    """Two convolutions with GroupNorm, the second in what SAR takes for the last block."""

    def __init__(self):
        super().__init__()
        for name in ("stem", "layer4"):
            channels = 3 if name == "stem" else 8
            block = nn.Conv2d(channels, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU()
            self.add_module(name, nn.Sequential(*block))
        self.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))
'''
    (tmp_path / "net.py").write_text(source)
    space: dict[str, Any] = {}
    exec(source, space)
    torch.manual_seed(0)
    torch.save(space["Net"]().state_dict(), tmp_path / "net.pth")
    heard: list[str] = []
    given = f"{tmp_path / 'net.py'}:Net", str(tmp_path / "net.pth"), task[2]
    prepared = ready(
        given, heard, modes=["fixed", "batch", "sar:margin=2,lr=0.05", "tent:lr=0.05", "sar:lr=vit"]
    )
    assert any(text.endswith("every mode equals fixed, but for sar, tent") for text in heard), heard
    (outcome,) = evaluation.evaluate(prepared, [tmp_path / "run"])
    found = {(cell.mode.split(":")[0], str(cell.condition)): cell.scores for cell in outcome.record.cells}
    for condition in {condition for _, condition in found}:
        assert found["batch", condition]["top1"] == found["fixed", condition]["top1"]
        assert found["batch", condition]["nll"] == pytest.approx(found["fixed", condition]["nll"], rel=1e-6)
        assert found["tent", condition]["nll"] != found["fixed", condition]["nll"]
    said = [text for text in outcome.record.deviations if "do not learn" in text]
    assert (
        said[0] == "mode sar:lr=0.05,margin=2,rho=0.05: weight and bias of some layers do not learn: layer4.1"
    )
    assert "sar: lr=vit is 0.000625 for batches of 40" in outcome.record.deviations
