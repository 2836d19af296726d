"""What goes wrong on machines: killed processes, full disks, changed data, clocks. Nothing finished is lost.

`benchmarks/faults.py` does the same with more trials.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnbench.files import lock
from lnbench.results.store import LOCK
from tests.cli import conftest as cli
from tests.cli.conftest import Lnbench
from tests.networks import pictures, write_task
from tests.processes import Fault, run_world

OPTIONS = [
    "--corruption", "gaussian_noise", "--severity", 2, "--severity", 5, "--batch-size", 20,
    "--norm", "fixed", "--norm", "batch", "--norm", "adapt:n=16",
]  # fmt: skip
lnbench = cli.lnbench  # the fixture

TRIALS = 5
CALLS = 60  # a process of this run makes about so many calls that can be its last


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=110)
    return ["--model", model, "--weights", weights, "--data", data]


@pytest.fixture(scope="module")
def whole(task: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    (ended,) = run_world(1, ["evaluate", *task, *OPTIONS, "--out", out / "run"], out)
    assert ended.code == 0, ended.err
    return out / "run"


def cells(folder: Path) -> list[dict[str, Any]]:
    record = json.loads((folder / "results.json").read_text())
    return [{name: value for name, value in cell.items() if name != "seconds"} for cell in record["cells"]]


def finished(folder: Path) -> list[str]:
    """The whole lines that are on disk: what must never be lost."""
    file = folder / "cells.jsonl"
    return file.read_text().splitlines(keepends=True) if file.exists() else []


@pytest.mark.parametrize("trial", range(TRIALS))
def test_kill_9_of_any_process_at_any_call(task: list[str], whole: Path, tmp_path: Path, trial: int) -> None:
    chance = random.Random(trial)
    world = chance.choice([1, 2, 3])
    fault = Fault(rank=chance.randrange(world), call=1 + chance.randrange(CALLS // world))
    command = ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"]
    ended = run_world(world, command, tmp_path, fault=fault)
    codes = [process.code for process in ended]
    if codes != [0] * world:  # else the run was over before that call
        assert codes.pop(fault.rank) == -signal.SIGKILL, ended
        assert set(codes) <= {3}, ended
        said = [line for process in ended for line in process.err.splitlines() if "lnbench: " in line]
        assert len(said) == (world > 1), ended
        assert all("a process of this run ended" in line for line in said)
    kept = [line for line in finished(tmp_path / "run") if line.endswith("\n")]
    again = run_world(chance.choice([1, 2]), command, tmp_path)
    assert {process.code for process in again} == {0}, again
    assert finished(tmp_path / "run")[: len(kept)] == kept
    names = [(c["mode"], c["corruption"], c["severity"]) for c in map(json.loads, finished(tmp_path / "run"))]
    assert len(names) == len(set(names)) == 9
    assert cells(tmp_path / "run") == cells(whole)


def test_a_process_that_hangs_is_not_waited_for_forever(task: list[str], tmp_path: Path) -> None:
    command = ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"]
    stopped = Fault(rank=1, call=8, signal=signal.SIGSTOP)
    first, second = run_world(2, command, tmp_path, fault=stopped, timeout=4, patience=30)
    assert first.code == 3 and "ended or does not answer" in first.err
    assert second.code is None  # it still hangs; the launcher would end it


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A disk with as many bytes left as the list's entry says; writes beyond are cut short, then refused."""
    left = [10**9]
    write = os.write

    def limited(handle: int, data: Any) -> int:
        part = bytes(data)[: left[0]]
        if handle > 2 and not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= len(part) if handle > 2 else 0
        return write(handle, part if handle > 2 else data)

    monkeypatch.setattr(os, "write", limited)
    yield left


def test_a_full_disk_keeps_what_is_finished(
    lnbench: Lnbench,
    task: list[str],
    whole: Path,
    tmp_path: Path,
    full_disk: list[int],
) -> None:
    command = ["evaluate", *task, *OPTIONS, "--out", tmp_path / "run"]
    line = sum(map(len, finished(whole))) // 3  # bytes of one condition
    full_disk[0] = line + line // 2
    ran = lnbench(*command)
    assert ran.code == 3
    header, *_, said = ran.err.splitlines()
    assert "outputs 4" in header
    assert "No space left on device; finished cells are kept" in said
    assert len(finished(tmp_path / "run")) == 3 and finished(tmp_path / "run")[-1].endswith("\n")
    full_disk[0] = 10**9
    assert lnbench(*command).code == 0
    assert cells(tmp_path / "run") == cells(whole)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_cannot_be_written(
    lnbench: Lnbench,
    task: list[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    ran = lnbench("evaluate", *task, *OPTIONS, "--out", tmp_path / "closed" / "run")
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)


def test_an_output_on_a_read_only_system(lnbench: Lnbench, task: list[str]) -> None:
    """Root may write anywhere but there."""
    ran = lnbench("evaluate", *task, *OPTIONS, "--out", "/proc/lnbench")
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)
    assert "/proc/lnbench" in ran.err


def test_data_that_changed_between_start_and_resume_is_refused(
    lnbench: Lnbench,
    task: list[str],
    whole: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    pixels, labels = pictures(110)
    pixels[57, 3, 4, 1] ^= 1
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    changed = [*task[:4], "--data", f"npz:{tmp_path / 'data.npz'}"]
    ran = lnbench("evaluate", *changed, *OPTIONS, "--out", tmp_path / "run")
    assert ran.code == 3
    assert "another run (data.fingerprint" in ran.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_two_runs_into_one_folder(
    lnbench: Lnbench,
    task: list[str],
    whole: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    with lock(tmp_path / "run" / LOCK):
        ran = lnbench("evaluate", *task, *OPTIONS, "--out", tmp_path / "run")
    assert ran.code == 3
    assert "is in use by another lnbench run" in ran.err
    assert lnbench("evaluate", *task, *OPTIONS, "--out", tmp_path / "run").code == 0


def test_a_clock_that_goes_backwards_changes_nothing(
    lnbench: Lnbench,
    task: list[str],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [2_000_000_000.0]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "time_ns", lambda: int(backwards() * 1e9))
    assert lnbench("evaluate", *task, *OPTIONS, "--out", tmp_path / "run").code == 0
    assert cells(tmp_path / "run") == cells(whole)
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert all(cell["seconds"] >= 0 for cell in record["cells"])
