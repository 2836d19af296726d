"""One stream, one answer: modes that adapt as images come, by any number of processes, killed anywhere."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.networks import write_task
from tests.processes import Fault, run_world
from tests.test_dist import figures
from tests.test_faults import finished

OPTIONS = [
    "--corruption", "gaussian_noise", "--corruption", "contrast", "--severity", 5, "--batch-size", 20,
    "--norm", "test-average", "--norm", "fixed", "--norm", "test-steps", "--norm", "batch",
]  # fmt: skip
MODES = "tests.evaluate.throwaway"
TRIALS = 2  # `benchmarks/faults.py --continual` makes more
CALLS = 75  # a process of this run makes about so many calls that can be its last


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    # 130 images: three chunks of 64, six batches of 20 and a short last one.
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=130)
    return ["--model", model, "--weights", weights, "--data", data]


@pytest.fixture(scope="module")
def whole(task: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("whole")
    (ended,) = run_world(1, ["evaluate", *task, *OPTIONS, "--out", out / "run"], out, plugin=MODES)
    assert ended.code == 0, ended.err
    return out / "run"


def test_the_modes_adapt_and_the_others_are_as_without_them(
    task: list[str], whole: Path, tmp_path: Path
) -> None:
    cells = {
        (c["mode"], c["corruption"]): c for c in json.loads((whole / "results.json").read_text())["cells"]
    }
    assert {mode for mode, _ in cells} == {"test-average:share=0.3", "fixed", "test-steps:rate=0.05", "batch"}
    assert cells["test-steps:rate=0.05", "contrast"]["nll"] != cells["batch", "contrast"]["nll"]
    (ended,) = run_world(
        1, ["evaluate", *task, *OPTIONS[:8], "--norm", "fixed", "--norm", "batch", "--out", tmp_path / "run"],
        tmp_path,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    for cell in json.loads((tmp_path / "run" / "results.json").read_text())["cells"]:
        company = cells[cell["mode"], cell["corruption"]]
        assert {**cell, "seconds": 0} == {**company, "seconds": 0}


@pytest.mark.parametrize("world", [2, 3])
def test_a_stream_is_the_same_for_any_number_of_processes(
    task: list[str], whole: Path, tmp_path: Path, world: int
) -> None:
    ended = run_world(world, ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"], tmp_path, plugin=MODES)
    assert [process.code for process in ended] == [0] * world, ended
    assert figures(tmp_path / "run") == figures(whole)


@pytest.mark.parametrize("call", [12, 40, 55])
def test_a_killed_run_goes_on_and_ends_with_the_same_figures(
    task: list[str], whole: Path, tmp_path: Path, call: int
) -> None:
    command = ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"]
    ended = run_world(1, command, tmp_path, plugin=MODES, fault=Fault(rank=0, call=call))
    assert ended[0].code == -9
    ended = run_world(3, command, tmp_path, plugin=MODES)
    assert [process.code for process in ended] == [0, 0, 0], ended
    assert figures(tmp_path / "run") == figures(whole)


SEQUENCES = {"continual": ["--sequence", "continual"], "mixed": ["--mixed"]}


@pytest.fixture(scope="module", params=SEQUENCES)
def sequence(
    request: pytest.FixtureRequest, task: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[object], Path]:
    """A command whose stream goes through all conditions, and its run by one process."""
    out = tmp_path_factory.mktemp("sequence")
    command: list[object] = ["evaluate", *task, *OPTIONS, *SEQUENCES[request.param]]
    (ended,) = run_world(1, [*command, "--out", out / "run"], out, plugin=MODES)
    assert ended.code == 0, ended.err
    return command, out / "run"


def test_a_sequence_is_the_same_for_any_number_of_processes(
    sequence: tuple[list[object], Path], tmp_path: Path
) -> None:
    command, whole = sequence
    ended = run_world(3, [*command, "--out", tmp_path / "run"], tmp_path, plugin=MODES)
    assert [process.code for process in ended] == [0] * 3, ended
    assert figures(tmp_path / "run") == figures(whole)


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_sequence_killed_at_random_ends_with_the_same_figures(
    sequence: tuple[list[object], Path], tmp_path: Path, trial: int
) -> None:
    """Killed, gone on with and killed again, then finished: nothing finished is lost, nothing differs."""
    command, whole = sequence
    command = [*command, "--out", tmp_path / "run"]
    chance = random.Random(trial)
    kept: list[str] = []
    for _ in range(2):
        world = chance.choice([1, 2])
        fault = Fault(rank=chance.randrange(world), call=1 + chance.randrange(CALLS // world))
        ended = run_world(world, command, tmp_path, plugin=MODES, fault=fault)
        assert ended[fault.rank].code in (-9, 0), ended
        lines = [line for line in finished(tmp_path / "run") if line.endswith("\n")]
        assert lines[: len(kept)] == kept
        kept = lines
    (ended_,) = run_world(1, command, tmp_path, plugin=MODES)
    assert ended_.code == 0, ended_.err
    assert finished(tmp_path / "run")[: len(kept)] == kept
    assert figures(tmp_path / "run") == figures(whole)
