"""The one command that measures a GPU: all of it runs small on a CPU, and its timing on the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_report
from benchmarks.clock import Clock, median_seconds
from tests.device import CUDA, Device, fresh_tables

ROOT = Path(__file__).parents[1]


def test_all_stages_run_small_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry", "-o", str(tmp_path / "gpu")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(gpu.STAGES) <= set(found) and found["dry"]
    agreement, memory = found["agreement"], found["memory"]
    assert agreement["compared"] == 19 and not agreement["differing"]  # the CPU against itself
    assert memory["top1_apart"] == 0 and "in 4 parts" in memory["notes"][0]
    assert found["nccl"]["same"]
    assert all(row["other_answers"] == 0 for key, row in found["forward"].items() if "/" in key)
    page = (tmp_path / "gpu.md").read_text()
    assert "shows that the script runs, and no speed" in page and "grid efficiency" in page


def test_a_gpu_is_timed_by_its_events_and_waited_for_at_the_end(tmp_path: Path) -> None:
    with fresh_tables(), Device() as device, torch.no_grad():
        x = torch.ones(4, device="cuda")
        clock = Clock(CUDA)
        for _ in range(3):
            with clock.part("sum"):
                x.sum()
        assert not device.waits
        assert clock.seconds() == {"sum": pytest.approx(0.003)}  # an event of the stand-in takes 1 ms
        assert [what for what, _ in device.waits] == ["synchronize"]
        assert median_seconds(lambda _: x.sum(), CUDA, repeats=2) == pytest.approx(0.001)


def test_what_fails_is_named_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: gpu.Bench) -> dict[str, object]:
        raise RuntimeError("no such\nkernel")

    monkeypatch.setitem(gpu.STAGES, "kernels", broken)
    bench = gpu.Bench(torch.device("cpu"), dry=True)
    found = gpu.measure(bench, ["kernels", "ceilings"], tmp_path / "gpu.json")
    assert json.loads((tmp_path / "gpu.json").read_text()) == found
    assert found["kernels"]["failed"] == "RuntimeError: no such kernel" and "failed" not in found["ceilings"]
    assert "kernels: RuntimeError: no such kernel" in gpu_report.to_markdown(found)


def test_without_a_gpu_the_measurement_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "-o", "unused"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2 and "--dry tries the script without one" in capsys.readouterr().err
