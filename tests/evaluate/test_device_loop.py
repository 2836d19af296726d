"""The whole loop on the stand-in for a device: the CPU's cells, and no wait that grows with the images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lnbench import config
from lnbench.evaluate import evaluation, stream
from lnbench.norm.modes import registry
from tests.device import Device, fresh_tables
from tests.networks import write_task

MODES = [
    # Gradients need a driver: torch's engine asks it for streams.
    *(text for text in map(str, map(registry.make, registry.names())) if "lr=" not in text),
    "blend:N=16,scope=batch",
    "local:layers=first1",
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def cells(
    task: tuple[str, str, str], folder: Path, device: str, gpu: Device | None = None, **options: Any
) -> dict[Any, Any]:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise", "contrast"],
              "severities": [3], "modes": MODES, "batch_size": 30, "device": device, **options}  # fmt: skip
    ready = evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])
    if gpu is not None:
        gpu.clear()
    (outcome,) = evaluation.evaluate(ready, [folder], compile="off")
    return {cell.key: cell for cell in outcome.record.cells}


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_counts_the_same_on_the_device(task: tuple[str, str, str], tmp_path: Path, mode: str) -> None:
    here = cells(task, tmp_path / "cpu", "cpu", modes=[mode])
    with fresh_tables(), Device() as gpu:
        there = cells(task, tmp_path / "gpu", "cuda", gpu, modes=[mode])
    assert here.keys() == there.keys()
    for key, cell in here.items():
        assert cell.correct == there[key].correct, key
        # The same operations in another memory layout: sums may differ in their last bits.
        assert cell.scores["nll"] == pytest.approx(there[key].scores["nll"], abs=1e-5)


def test_the_host_waits_for_finished_conditions_only(
    task: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    for chunk in (15, 45):
        monkeypatch.setattr(stream, "chunk_size", lambda *_, chunk=chunk: chunk)
        with fresh_tables(), Device() as gpu:
            made = cells(task, tmp_path / str(chunk), "cuda", gpu, modes=["fixed", "local", "adapt:n=8"])
        waits = Counter(where for _, where in gpu.waits if not where.startswith("corruptions/"))
        assert sum(waits.values()) <= 4 * len(made), waits
        counted.append(waits)
    assert counted[0] == counted[1]


def test_a_diagnosis_waits_once_for_all_layers(task: tuple[str, str, str], tmp_path: Path) -> None:
    counted = {}
    for asked in (False, True):
        with fresh_tables(), Device() as gpu:
            made = cells(task, tmp_path / str(asked), "cuda", gpu, modes=["fixed"], diagnose=asked)
        counted[asked] = len(gpu.waits)
    assert counted[True] - counted[False] == len(made)  # cells, of networks with several layers
    assert all(cell.shifts for cell in made.values())


@pytest.mark.parametrize(("device", "used"), [("cuda:1", {1}), ("cuda", {0}), ("cpu", set())])
def test_nothing_is_set_up_on_a_device_that_is_not_used(
    task: tuple[str, str, str], tmp_path: Path, device: str, used: set[int]
) -> None:
    with fresh_tables(), Device(count=2) as gpu:
        cells(task, tmp_path, device, modes=["fixed", "batch"], corruptions=["contrast"], diagnose=True)
        assert gpu.contexts == used


def test_times_are_taken_on_the_device_that_works(task: tuple[str, str, str], tmp_path: Path) -> None:
    with fresh_tables(), Device(count=2) as gpu:
        cells(task, tmp_path, "cuda:1", gpu, modes=["fixed"], corruptions=["contrast"])
        assert gpu.recorded and {str(stream) for stream in gpu.recorded} == {"1"}
