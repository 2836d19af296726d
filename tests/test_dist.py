"""Several processes: the same figures as one, one voice, and an end for all when one fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lnbench import dist
from lnbench.errors import DataError, UsageError
from tests.device import Device
from tests.networks import write_task
from tests.processes import run_world

OPTIONS = [
    "--corruption", "gaussian_noise", "--corruption", "contrast", "--severity", 2, "--severity", 5,
    "--batch-size", 20, "--norm", "fixed", "--norm", "batch", "--norm", "local",
    "--norm", "adapt:n=16,draws=3", "--norm", "batch:size=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    # 130 images: three chunks of 64 (the last is short), seven batches of 20 (the last is completed).
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=130)
    return ["--model", model, "--weights", weights, "--data", data]


@pytest.fixture(scope="module")
def whole(task: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("whole")
    (ended,) = run_world(1, ["evaluate", *task, *OPTIONS, "--out", out / "run"], out)
    assert ended.code == 0, ended.err
    return out / "run"


def figures(folder: Path) -> tuple[Any, Any, bytes]:
    """Everything a run found, timings left out."""
    record = json.loads((folder / "results.json").read_text())
    for cell in record["cells"]:
        del cell["seconds"]
    return record["cells"], record["summary"], (folder / "correct.npz").read_bytes()


@pytest.mark.parametrize("world", [2, 3, 8])
def test_the_number_of_processes_changes_no_figure(
    task: list[str], whole: Path, tmp_path: Path, world: int
) -> None:
    ended = run_world(world, ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"], tmp_path)
    assert [process.code for process in ended] == [0] * world, ended
    assert figures(tmp_path / "run") == figures(whole)
    assert "gaussian_noise" in ended[0].out
    assert all(process.out == process.err == "" for process in ended[1:])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["environment"]["processes"] == world


def test_another_number_of_processes_goes_on_with_a_run(task: list[str], whole: Path, tmp_path: Path) -> None:
    command = ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"]
    assert [p.code for p in run_world(2, command, tmp_path)] == [0, 0]
    lines = (tmp_path / "run" / "cells.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "cells.jsonl").write_text("".join(lines[:10]))
    (tmp_path / "run" / "results.json").unlink()
    ended = run_world(3, command, tmp_path)
    assert [process.code for process in ended] == [0, 0, 0], ended
    assert "10 of 25 cells are finished already" in ended[0].err
    assert figures(tmp_path / "run") == figures(whole)


@pytest.mark.parametrize("options", [["--norm", "batch"], ["--norm", "fixed"]])
def test_one_kind_of_mode_alone_is_dealt_as_well(task: list[str], tmp_path: Path, options: list[str]) -> None:
    command = ["evaluate", *task, "--corruption", "contrast", "--severity", 5, "--batch-size", 20, *options]
    for world in (1, 3):
        ended = run_world(world, [*command, "--out", tmp_path / str(world)], tmp_path)
        assert [process.code for process in ended] == [0] * world, ended
    assert figures(tmp_path / "1") == figures(tmp_path / "3")


def test_an_error_that_all_share_is_said_once(task: list[str], tmp_path: Path) -> None:
    ended = run_world(
        2, ["evaluate", *task[:4], "--data", "folder:absent", "--out", tmp_path / "r"], tmp_path
    )
    assert [process.code for process in ended] == [3, 3]
    assert len(ended[0].err.splitlines()) == 1 and "absent" in ended[0].err
    assert ended[1].err == ""


def test_a_folder_in_use_ends_all_of_them(task: list[str], whole: Path, tmp_path: Path) -> None:
    from lnbench.files import lock
    from lnbench.results.store import LOCK

    with lock(whole / LOCK):
        ended = run_world(2, ["evaluate", *task, *OPTIONS, "--out", whole], tmp_path)
    assert [process.code for process in ended] == [3, 3]
    assert "is in use by another lnbench run" in ended[0].err and ended[1].err == ""


def test_torchrun_itself(task: list[str], whole: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "lnbench", "evaluate", *task, *OPTIONS, "--out", tmp_path / "run",
    ]  # fmt: skip
    ran = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "LNBENCH_TIMEOUT": "60"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    cells, _, _ = figures(tmp_path / "run")
    for cell, expected in zip(cells, figures(whole)[0], strict=True):
        # The processes take as many threads as there are cores for them; in batch modes the order of a
        # sum over the batch follows the number of threads, so nll agrees to float32 only.
        assert (cell["top1"], cell["top5"]) == (expected["top1"], expected["top5"])
        assert cell["nll"] == pytest.approx(expected["nll"], rel=1e-5)


def test_alone_everything_is_a_no_op() -> None:
    tensor = torch.ones(3)
    dist.ALONE.all_reduce(tensor)
    assert torch.equal(tensor, torch.ones(3))
    assert dist.ALONE.barrier(lambda: 5) == dist.ALONE.broadcast(5) == 5
    assert dist.ALONE.gather(5) == [5]
    with pytest.raises(DataError):
        dist.ALONE.barrier(lambda: (_ for _ in ()).throw(DataError("x")))


def test_half_an_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match="'RANK' is not as torchrun sets it"), dist.joined():
        pass


def test_each_process_of_a_machine_takes_its_own_gpu() -> None:
    with Device(count=4):
        third = dist.Processes(rank=6, world=8, local_rank=2, local_world=4)
        assert third.device("auto") == third.device("cuda") == torch.device("cuda:2")
        assert third.device("cpu") == torch.device("cpu")
        crowded = dist.Processes(rank=5, world=8, local_rank=5, local_world=8)
        assert crowded.device("auto") == torch.device("cuda:1")


@pytest.mark.parametrize("processes", [dist.ALONE, dist.Processes(rank=1, world=2)])
def test_without_a_gpu_auto_is_the_cpu_and_the_rest_is_refused(
    processes: dist.Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processes.device("auto") == processes.device("cpu") == torch.device("cpu")
    wrong = {
        "toaster": "not a device",
        "mps": "only cpu and cuda",
        "cuda": "0 CUDA devices",
        "cuda:1": "0 CUDA",
    }
    for name, words in wrong.items():
        with pytest.raises(UsageError, match=f"--device {name}: {words}"):
            processes.device(name)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_a_patience_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LNBENCH_TIMEOUT", seconds)):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="is not as torchrun sets it"), dist.joined():
        pass
