"""Corruptions in one pass on a GPU: their integers by Triton's interpreter, their code by its compiler."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lnbench.corruptions import fused, native, registry
from lnbench.corruptions.rng import Key
from tests.device import Device, fresh_tables
from tests.test_device import photographs

pytest.importorskip("triton")
from benchmarks import gpu_cost
from benchmarks.gpu_code import compiled, launches

ROOT = Path(__file__).parents[2]
PREDICTED = json.loads((ROOT / "benchmarks/results/gpu_cost.json").read_text(encoding="utf-8"))


def test_fused_forms_make_the_references_pixels_to_the_last_bit() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.corruptions.fused"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = {name: own for line in ran.stdout.splitlines() for name, own in json.loads(line).items()}
    assert set(found) == set(fused.HOMES)
    for name, own in found.items():
        most, share = max(row[0] for row in own.values()), sum(row[1] for row in own.values()) / len(own)
        assert (most, share) == (0, 0) or (name in fused.SUMS and most <= 1 and share <= 1e-4), (name, own)


@pytest.mark.parametrize("name", fused.HOMES)
def test_a_fused_form_compiles_for_a_gpu_without_one(name: str) -> None:
    made = launches(name, 3)
    assert made
    for launch in made:
        text = compiled(launch)
        assert ".target sm_90" in text
        # What would round once where the reference rounds twice.
        assert "fma.rn.f64" not in text, launch.name


@pytest.mark.parametrize("name", fused.HOMES)
def test_a_fused_form_keeps_to_its_budget(name: str) -> None:
    """What launches, moves or computes more than was predicted last fails; the docstring of gpu_cost says how
    it is predicted anew. A tenth more instructions is what another compiler may make of the same kernel.
    """
    budget, works = PREDICTED[name]["3"], gpu_cost.predicted(name, 3)
    assert len(works) <= budget["launches"]
    assert sum(one.bytes for one in works) / gpu_cost.BATCH / 1e6 <= 1.01 * budget["megabytes"] + 0.005
    assert sum(one.seconds for one in works) / gpu_cost.BATCH * 1e6 <= 1.1 * budget["microseconds"] + 0.005


def test_corruption_is_predicted_within_a_twentieth_of_a_forward_pass() -> None:
    costs = {name: [row["microseconds"] for row in own.values()] for name, own in PREDICTED.items()}
    assert set(costs) == set(registry.names())
    assert max(max(own) for own in costs.values()) <= 8
    assert statistics.fmean(statistics.fmean(costs[name]) for name in registry.BENCHMARK) <= 2.8


def test_where_no_fused_form_runs_the_reference_does() -> None:
    pixels, ids = photographs(2, 32), torch.arange(2)
    parameters = registry.parameters("cifar", "brightness", 3)
    wanted = native.corrupt(pixels, "brightness", 3, Key(1, ids), parameters)
    with torch.no_grad(), fresh_tables(), Device():
        found = native.corrupt(pixels.to("cuda"), "brightness", 3, Key(1, ids.to("cuda")), parameters).cpu()
    assert torch.equal(found, wanted)


def test_what_keeps_triton_from_running_is_said_once_and_the_reference_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler.\nSet CC")

    def right(pixels: torch.Tensor, *_: object) -> torch.Tensor:
        return pixels

    monkeypatch.setattr(fused, "written", lambda name: broken)
    monkeypatch.setattr(fused, "_trusted", {})
    fused._say_why.cache_clear()
    pixels, key = photographs(2, 32), Key(0, torch.arange(2))
    with pytest.warns(UserWarning, match=r"Triton's fails here: RuntimeError: Failed to find C compiler\.$"):
        assert torch.equal(fused.corrupted("snow", right, pixels, (), key), pixels)
    assert torch.equal(fused.corrupted("fog", right, pixels, (), key), pixels)  # for the same reason


def test_a_fused_form_that_differs_is_said_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(pixels: torch.Tensor, *_: object) -> torch.Tensor:
        return pixels + 1

    def right(pixels: torch.Tensor, *_: object) -> torch.Tensor:
        return pixels

    monkeypatch.setattr(fused, "written", lambda name: wrong)
    monkeypatch.setattr(fused, "_trusted", {})
    pixels, key = photographs(2, 32), Key(0, torch.arange(2))
    with pytest.warns(UserWarning, match="its fused form differs on cpu and is not used"):
        assert torch.equal(fused.corrupted("snow", right, pixels, (), key), pixels)
    assert torch.equal(fused.corrupted("snow", right, pixels, (), key), pixels)  # said once
    monkeypatch.setattr(fused, "_trusted", {})
    assert torch.equal(fused.corrupted("snow", wrong, pixels, (), key), pixels + 1)


@pytest.mark.parametrize("name", fused.HOMES)
def test_every_fused_form_stands_for_a_corruption(name: str) -> None:
    assert name in registry.names() and fused.written(name) is not None
