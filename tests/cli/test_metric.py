"""A metric is added by registering it alone: nothing else in lnbench is told of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from lnbench.files import write_atomic
from lnbench.metrics import METRICS, metric
from lnbench.results.reading import read, record_bytes
from tests.cli.conftest import Lnbench
from tests.networks import write_task

SMALL = ("--preset", "core", "--corruption", "contrast", "--severity", 5, "--norm", "fixed")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"))
    return ("evaluate", *SMALL, "--model", model, "--weights", weights, "--data", data)


@pytest.fixture
def brier() -> Iterator[None]:
    """The Brier score, a metric for as long as the test lasts."""

    @metric("brier", better="lower", title="Brier")
    def count(log_probs: torch.Tensor, predicted: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Squared distance of the probabilities from the truth (Brier 1950)."""
        truth = F.one_hot(labels, log_probs.shape[1])
        return (log_probs.double().exp() - truth).square().sum(1).sum(0, keepdim=True)

    yield
    del METRICS["brier"]


def worsen(folder: Path, out: Path, by: float) -> Path:
    """A copy of a record whose Brier scores are larger, as a record of its own."""
    record = read(folder)
    cells = [
        cell.model_copy(update={"scores": {**cell.scores, "brier": (cell.scores["brier"] or 0) + by}})
        for cell in record.cells
    ]
    write_atomic(out, record_bytes(record.model_copy(update={"cells": tuple(cells)})))
    return out


def test_a_registered_metric_is_everywhere(
    lnbench: Lnbench, task: tuple[object, ...], tmp_path: Path, brier: None
) -> None:
    run = tmp_path / "run"
    assert lnbench(*task, "--out", run).code == 0
    values = [cell["brier"] for cell in json.loads((run / "results.json").read_text())["cells"]]
    assert len(values) == 2 and all(0 < value < 2 for value in values)
    assert [cell.scores["brier"] for cell in read(run).cells] == values
    table = list(csv.DictReader((run / "results.csv").read_text().splitlines()))
    assert [float(row["brier"]) for row in table] == pytest.approx(values, rel=1e-5)
    assert "Brier clean" in (run / "report.html").read_text()
    worse = worsen(run, tmp_path / "worse.json", 0.02)
    assert lnbench("compare", run, worse, "--fail-if", "brier:+0.03").code == 0
    ran = lnbench("compare", run, worse, "--fail-if", "brier:+0.01")
    assert ran.code == 1 and "fixed/clean: brier" in ran.out and "(+0.020)" in ran.out
    refused = lnbench("compare", run, worse, "--fail-if", "brier:+1pp")
    assert refused.code == 2 and "brier is not a rate" in refused.err
    assert lnbench("compare", run, "--update-baseline", tmp_path / "base.json").code == 0
    assert [cell.scores["brier"] for cell in read(tmp_path / "base.json").cells] == pytest.approx(
        sorted(values), abs=1e-6
    )


def test_other_figures_do_not_know_it(
    lnbench: Lnbench, task: tuple[object, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert lnbench(*task, "--out", tmp_path / "without").code == 0
    request.getfixturevalue("brier")
    assert lnbench(*task, "--out", tmp_path / "with").code == 0
    for old, new in zip(read(tmp_path / "without").cells, read(tmp_path / "with").cells, strict=True):
        assert old.scores == {name: value for name, value in new.scores.items() if name != "brier"}
        assert old.bins == new.bins


def test_a_reader_that_does_not_know_it_keeps_it(
    lnbench: Lnbench, task: tuple[object, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("brier")
    assert lnbench(*task, "--out", tmp_path / "run").code == 0
    known = METRICS.pop("brier")
    try:
        assert all(cell.scores["brier"] for cell in read(tmp_path / "run").cells)
        assert lnbench("compare", tmp_path / "run", tmp_path / "run").code == 0
        assert lnbench("report", tmp_path / "run", "-o", tmp_path / "report.html").code == 0
        ran = lnbench("report", tmp_path / "run", "--format", "csv")
        assert "brier" in ran.out.splitlines()[0].split(",")
        ran = lnbench("compare", tmp_path / "run", tmp_path / "run", "--fail-if", "brier:+1")
        assert ran.code == 2 and "unknown figure in --fail-if 'brier'" in ran.err
    finally:
        METRICS["brier"] = known
