"""The batch of a run: as asked for, or one that fits; what does not fit is said before it is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lnbench import config
from lnbench.errors import UsageError
from lnbench.evaluate import batch, evaluation
from lnbench.evaluate.footprint import footprint
from lnbench.norm.modes.registry import parse
from tests.networks import write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"), images=240)


def resolved(task: tuple[str, str, str], preset: str = "core", **options: Any) -> config.RunConfig:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["contrast"],
              "severities": [5], "modes": ["fixed", "batch"], **options}  # fmt: skip
    return config.resolve(config.load_preset(preset), chosen)


@pytest.fixture
def machine(task: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine whose memory holds a program and half as much again as so many images in mode batch take."""
    ready = evaluation.prepare_all([resolved(task, batch_size=40)])
    found = footprint(ready.subjects[0], parse("batch"), ready.images.clean)
    assert found is not None

    def of(images: float, *, share: float = 0.5) -> None:
        room = 1000.0 + found.taken(int(images))
        monkeypatch.setattr(batch, "held", lambda device: 1000.0)
        monkeypatch.setattr(batch, "freed", lambda device: 0.0)
        monkeypatch.setattr(batch, "present", lambda device: room / share)

    return of


def test_where_nobody_names_a_size_it_is_200_or_one_that_fits(
    task: tuple[str, str, str], tmp_path: Path, machine: Any
) -> None:
    assert evaluation.prepare_all([resolved(task)]).subjects[0].config.batch_size == 200
    machine(201)
    assert evaluation.prepare_all([resolved(task)]).subjects[0].config.batch_size == 200
    machine(199)
    heard: list[str] = []
    ready = evaluation.prepare_all([resolved(task)], observer=evaluation.Observer(warning=heard.append))
    (said,) = [text for text in heard if "batches of" in text]
    assert said.startswith("batches of 100 chosen, not 200: a batch of 200 images of 32×32 px in mode batch")
    (outcome,) = evaluation.evaluate(ready, [tmp_path / "run"])
    record = outcome.record
    assert said in record.deviations and record.config["batch_size"] == 100
    assert {cell.batch_size for cell in record.cells if cell.mode == "batch"} == {100}
    machine(30)
    assert evaluation.prepare_all([resolved(task)]).subjects[0].config.batch_size == 25


def test_what_a_preset_publishes_or_somebody_asks_for_stays(task: tuple[str, str, str], machine: Any) -> None:
    machine(120)
    for chosen in (resolved(task, "cifar10-c"), resolved(task, batch_size=200)):
        heard: list[str] = []
        ready = evaluation.prepare_all([chosen], observer=evaluation.Observer(warning=heard.append))
        assert ready.subjects[0].config.batch_size == 200
        assert not [text for text in heard if "a batch of 200" in text]  # all of the machine holds it
    machine(160, share=1.0)
    heard = []
    evaluation.prepare_all(
        [resolved(task, batch_size=200)], observer=evaluation.Observer(warning=heard.append)
    )
    (said,) = [text for text in heard if "a batch of 200" in text]
    assert re.search(r"--batch-size (159|160) fits", said)


def test_what_cannot_fit_is_refused_before_it_is_tried(task: tuple[str, str, str], machine: Any) -> None:
    machine(100, share=1.0)
    with pytest.raises(UsageError, match=r"-size 200: a batch of 200 .* about .* and .*-batch-size \d+ fits"):
        evaluation.prepare_all([resolved(task, batch_size=200)])
    machine(0, share=1.0)
    with pytest.raises(UsageError, match="no batch fits"):
        evaluation.prepare_all([resolved(task, batch_size=200)])


def test_modes_of_single_images_ask_for_no_batch(task: tuple[str, str, str], machine: Any) -> None:
    machine(0)
    ready = evaluation.prepare_all([resolved(task, modes=["fixed", "local", "adapt:n=8"])])
    assert ready.subjects[0].config.batch_size == 200 and not ready.footprints


def test_a_bound_of_ones_own_counts(task: tuple[str, str, str], machine: Any) -> None:
    machine(10_000)
    found = footprint(evaluation.prepare_all([resolved(task)]).subjects[0], parse("batch"),
                      evaluation.prepare_all([resolved(task)]).images.clean)  # fmt: skip
    assert found is not None
    bound = int(1000 + found.taken(60))
    ready = evaluation.prepare_all([resolved(task)], memory=bound)
    assert ready.subjects[0].config.batch_size == 50


def test_networks_of_one_run_take_one_size(task: tuple[str, str, str], machine: Any) -> None:
    machine(199)
    ready = evaluation.prepare_all([resolved(task), resolved(task)])
    assert [subject.config.batch_size for subject in ready.subjects] == [100, 100]
