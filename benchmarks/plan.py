"""What a run is told to take and hold, beside what it took and held: five different runs.

    python -m benchmarks.plan --shared FOLDER

with FOLDER as it holds `checkpoints` and `data` (CONTRIBUTING.md). Every run is a process of its own, whose
peak memory is asked of the system at its end. At every chunk the time left is noted; afterwards it is held
against the time that was left. The clock is that of the process on one thread (its processor time), since it
tells the same whatever else the machine does; the clock on the wall is noted beside it. Writes
benchmarks/results/plan.md and plan.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lnbench import config
from lnbench.evaluate import evaluation
from lnbench.evaluate.plan import Plan
from lnbench.evaluate.remaining import Remaining
from lnbench.memory import keep_freed

RESULTS = Path(__file__).parent / "results"
CIFAR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "resize": 32, "crop": 32}
ALL = ("gaussian_noise", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog", "contrast",
       "elastic_transform", "jpeg_compression")  # fmt: skip


def runs(shared: Path) -> dict[str, dict[str, Any]]:
    """Name → options; `keep`: how many cells of a run are there, which is gone on with."""
    checkpoints, data = shared / "checkpoints", shared / "data"
    resnet20 = {
        "model": "cifar:resnet20",
        "weights": str(checkpoints / "cifar10_resnet20-12fca82f.th"),
        **CIFAR,
    }
    resnet56 = {
        "model": "cifar:resnet56",
        "weights": str(checkpoints / "cifar10_resnet56-4bfd9763.th"),
        **CIFAR,
    }
    lossless = f"npz:{data / 'cifar10_test_846.npz'}"
    return {
        "demo, its preset": {"preset": "demo", "model": "demo", "data": "demo"},
        "ResNet-20, 32 px, `cifar10-c` × fixed, batch, tent": {
            "preset": "cifar10-c", **resnet20, "data": lossless, "limit": 80,
            "modes": ["fixed", "batch", "tent"]},
        "ResNet-56, 32 px, ten corruptions × fixed, sar, adapt": {
            "preset": "core", **resnet56, "data": lossless, "limit": 120, "corruptions": ALL,
            "severities": [3], "modes": ["fixed", "sar", "adapt:n=32"]},
        "EfficientNet-Lite0, 224 px, five corruptions × fixed, batch of 24": {
            "preset": "imagenet-c", "model": "timm:tf_efficientnet_lite0",
            "weights": str(checkpoints / "tf_efficientnet_lite0.safetensors"),
            "data": str(data / "imagenet_sample_800.zip"), "limit": 48, "severities": [3],
            "corruptions": ["gaussian_noise", "glass_blur", "fog", "elastic_transform", "contrast"],
            "modes": ["fixed", "batch"], "batch_size": 24},
        "ResNet-20, `core` × fixed, tent, gone on with after 39 of 52 cells": {
            "preset": "core", **resnet20, "data": lossless, "limit": 200,
            "modes": ["fixed", "tent"], "keep": 39},
    }  # fmt: skip


def one(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Compute one run in this process; with `keep`, so many of its cells are there before."""
    keep_freed()
    wall = time.monotonic
    time.perf_counter = time.monotonic = time.process_time
    preset, keep = options.pop("preset"), options.pop("keep", 0)
    wanted = config.resolve(config.load_preset(preset), {**options, "device": "cpu"})
    if keep:
        evaluation.evaluate(evaluation.prepare_all([wanted]), [folder])
        cells = folder / "cells.jsonl"
        cells.write_bytes(b"".join(_kept(cells, keep)))
        (folder / "results.json").unlink()
    told: list[tuple[float, float]] = []
    known: dict[str, Any] = {}

    def started(plan: Plan, cells: evaluation.Kept) -> None:
        known.update(
            plan=plan, work=Remaining(plan.steps, clock=time.process_time), since=time.process_time()
        )
        known["wall"] = wall()

    def note() -> None:
        if (left := known["work"].left()) is not None:
            told.append((time.process_time() - known["since"], left))

    def progressed(progress: Any) -> None:
        known["work"].progressed(progress.condition, progress.images)
        note()

    def finished(condition: Any, kept: evaluation.Kept) -> None:
        seconds = {(0, cell.mode): cell.seconds or 0.0 for _, cells in kept for cell in cells}
        known["work"].finished(condition, seconds)
        known["wall_end"] = wall()
        note()

    observer = evaluation.Observer(started=started, progress=progressed, finished=finished, measured=True)
    begun = time.process_time()
    prepared = evaluation.prepare_all([wanted], observer=observer)
    evaluation.evaluate(prepared, [folder], observer=observer)
    plan: Plan = known["plan"]
    memory = plan.memory
    assert memory is not None
    return {
        "told": told,
        "seconds": told[-1][0],
        "foretold_seconds": plan.seconds,
        "before": known["since"] - begun,
        "wall": known["wall_end"] - known["wall"],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "foretold_memory": memory.peak,
        "what": memory.what,
        "conditions": plan.conditions_left,
        "cells": plan.cells_left,
        "passes": plan.forwards,
    }


def _kept(cells: Path, count: int) -> list[bytes]:
    """The first lines, which a run that was killed leaves."""
    return cells.read_bytes().splitlines(keepends=True)[:count]


def errors(found: dict[str, Any]) -> list[float]:
    """At 10 %, 20 % … 90 % of the run: how far the time left was off, as a share of the true one.

    What a person sees at a moment is what was told last, counted down; before the first chunk, the forecast.
    """
    whole = found["seconds"]
    told = [(0.0, found["foretold_seconds"]), *found["told"]]
    shares = []
    for now in (whole * tenth / 10 for tenth in range(1, 10)):
        at, left = max((one for one in told if one[0] <= now), key=lambda one: one[0])
        shares.append(max(0.0, left - (now - at)) / (whole - now) - 1)
    return shares


def worst(found: dict[str, Any]) -> float:
    """The largest share by which it was off at any chunk from a tenth of the run to nineteen twentieths."""
    whole = found["seconds"]
    return max(abs(left / (whole - at) - 1) for at, left in found["told"] if whole / 10 <= at <= 0.95 * whole)


def page(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# Foretold and measured",
        "",
        "`OMP_NUM_THREADS=1 nice -n -10 python -m benchmarks.plan --shared FOLDER`, on a machine that others",
        "used too; the priority gives it most of a core.",
        "Time is that of the grid on the processor, with the clock on the wall beside it; memory is the most",
        "that the process held, as the system counts it. The time left is judged at every chunk from a tenth",
        "of the run to nineteen twentieths.",
        "",
        "| run | cells | time foretold | taken | on the wall | memory foretold | held | time left, worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        lines.append(
            f"| {name} | {found['cells']} | {found['foretold_seconds']:.1f} s | {found['seconds']:.1f} s | "
            f"{found['wall']:.1f} s | "
            f"{found['foretold_memory'] / 2**20:,.0f} MiB | {found['memory'] / 2**20:,.0f} MiB | "
            f"{100 * worst(found):.0f} % |"
        )
    lines += [
        "",
        "How far the time left was off at each tenth:",
        "",
        "| run | 1/10 | 2/10 | 3/10 | 4/10 | 5/10 | 6/10 | 7/10 | 8/10 | 9/10 |",
        "|---|" + "---|" * 9,
    ]
    for name, found in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:+.0f} %" for share in errors(found)) + " |")
    lines += ["", "The pass that takes most memory: " + "; ".join(
        f"{name}: {found['what']}" for name, found in results.items()) + ".", ""]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--only", type=int, help="one run, by number, its figures on stdout")
    asked = parser.parse_args()
    every = runs(asked.shared)
    if asked.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(one(list(every.values())[asked.only], Path(folder) / "run")))
        return
    results = {}
    for number, name in enumerate(every):
        words = ["-m", "benchmarks.plan", "--shared", str(asked.shared), "--only", str(number)]
        ran = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(ran.stdout.splitlines()[-1])
        results[name] = found
        print(name, found["foretold_seconds"], found["seconds"], errors(found), worst(found), file=sys.stderr)
    RESULTS.joinpath("plan.md").write_text(page(results), encoding="utf-8")
    short = {name: {key: value for key, value in found.items() if key != "told"} | {"errors": errors(found)}
             for name, found in results.items()}  # fmt: skip
    RESULTS.joinpath("plan.json").write_text(json.dumps(short, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
