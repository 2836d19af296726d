"""Everything that a GPU is to show, measured by one command in under ten minutes.

    python -m benchmarks.gpu -o benchmarks/results/gpu    # .json after each stage, .md at the end
    python -m benchmarks.gpu --dry -o /tmp/gpu            # all of it small, on a CPU: does it run?

No downloads: ResNet-50 with random weights and made-up pictures, which cost what others cost. Times are
medians between events on the device; operands take turns, so that no cache is measured. A stage that fails
or finds no time left says so, and the others go on.

- ceilings: bytes copied, a matrix product, bytes from the host;
- agreement: every corruption, severity and table against the CPU (one grey level, one pixel in 10,000);
- kernels: microseconds an image, and memory, of every corruption;
- forward: a pass in every mode, bf16 and fp32, as it is and compiled, with what compiling changes;
- grid: the whole loop against its bare passes, with what it makes the host wait for; from it hours for
  ImageNet-C with three modes;
- memory: the loop where memory is short;
- nccl: the sum over processes, with one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from benchmarks import gpu_report, grid_speed
from benchmarks.clock import Clock, median_seconds
from lnbench import config, files
from lnbench.corruptions import fused, native, registry
from lnbench.corruptions.rng import Key
from lnbench.data.arrays import list_arrays
from lnbench.dist import ALONE
from lnbench.evaluate import compiling, evaluation
from lnbench.evaluate.prepare import Given
from lnbench.models.classifier import Classifier, Precision
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from lnbench.types import InputNormalization

TABLES = {"cifar": 32, "tiny-imagenet": 64, "imagenet": 224}
MODES = ("fixed", "batch", "local", "blend:N=16", "adapt:n=32")
THREE = ("fixed", "batch", "adapt:n=32")
SECONDS = 540  # no stage begins later
Found = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What is measured on what; `dry` is small, on a CPU."""

    device: torch.device
    dry: bool

    @property
    def side(self) -> int:
        return 32 if self.dry else 224

    @property
    def batch(self) -> int:
        return 4 if self.dry else 256

    @property
    def repeats(self) -> int:
        return 1 if self.dry else 20

    @property
    def table(self) -> str:
        return "cifar" if self.dry else "imagenet"

    def network(self) -> nn.Module:
        from torchvision.models import resnet18, resnet50

        torch.manual_seed(0)
        return resnet18() if self.dry else resnet50()

    def seconds(self, work: Callable[[int], object], sets: int = 1, repeats: int | None = None) -> float:
        return median_seconds(work, self.device, repeats=repeats or self.repeats, sets=range(sets))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry", action="store_true", help="all of it small, on a CPU")
    parser.add_argument("--stage", action="append", choices=STAGES, help="repeatable; all without it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="without suffix: .json and .md")
    given = parser.parse_args()
    device = ALONE.device("cpu" if given.dry else given.device)
    if device.type != "cuda" and not given.dry:
        parser.error(f"--device {given.device}: this measures a GPU; --dry tries the script without one")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    found = measure(Bench(device, given.dry), given.stage or list(STAGES), given.output.with_suffix(".json"))
    text = gpu_report.to_markdown(found)
    files.write_atomic(given.output.with_suffix(".md"), text.encode())
    print(text)
    if any("failed" in gpu_report.of(part) for part in found.values()):
        raise SystemExit(1)


def measure(bench: Bench, stages: list[str], output: Path) -> Found:
    """Run the stages one after another, and write what is found after each."""
    begin = time.perf_counter()
    found: Found = {"machine": grid_speed.machine(bench.device), "torch": torch.__version__, "dry": bench.dry}
    for name in stages:
        started = time.perf_counter()
        if started - begin > SECONDS:
            found[name] = {"failed": "no time left"}
        else:
            try:
                found[name] = STAGES[name](bench)
            except Exception as error:  # whatever it is, the other stages are worth having
                traceback.print_exc()
                found[name] = {"failed": f"{type(error).__name__}: {files.said(error)}"}
        found[name]["stage_seconds"] = round(time.perf_counter() - started, 1)
        files.write_atomic(output, (json.dumps(found, indent=1) + "\n").encode())
        print(f"{name}: {found[name]['stage_seconds']} s", flush=True)
    found["seconds"] = round(time.perf_counter() - begin, 1)
    files.write_atomic(output, (json.dumps(found, indent=1) + "\n").encode())
    return found


def pictures(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth shades with edges and grain, uint8 (B, 3, S, S)."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, side // 8, side // 8, generator=draws)
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    edges = (smooth[:, :1] > 0.5) * 0.2
    return ((smooth * 0.7 + edges + 0.1 * torch.rand(smooth.shape, generator=draws)) * 255).to(torch.uint8)


def ceilings(bench: Bench) -> Found:
    size, rows = (1 << 20, 64) if bench.dry else (1 << 31, 8192)
    source = torch.empty(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    matrix = torch.randn(rows, rows, device=bench.device, dtype=torch.bfloat16)
    host = torch.empty(256 if bench.dry else 1 << 26, dtype=torch.uint8, pin_memory=not bench.dry)
    return {
        "copied_terabytes_per_second": 2 * size / bench.seconds(lambda _: target.copy_(source)) / 1e12,
        "bf16_teraflops": 2 * rows**3 / bench.seconds(lambda _: matrix @ matrix) / 1e12,
        "from_host_gigabytes_per_second": len(host)
        / bench.seconds(lambda _: host.to(bench.device, non_blocking=True))
        / 1e9,
    }


def agreement(bench: Bench) -> Found:
    """How far pixels are from the CPU's where they are: most grey levels, and the share of pixels."""
    found: Found = {"compared": 0, "differing": {}}
    for table in ["cifar"] if bench.dry else TABLES:
        pixels, ids = pictures(4, TABLES[table], 1), torch.arange(4)
        for name in registry.names():
            for severity in (3,) if bench.dry else (1, 3, 5):
                parameters = registry.parameters(table, name, severity)
                here = native.corrupt(pixels, name, severity, Key(1, ids), parameters)
                key = Key(1, ids.to(bench.device))
                there = native.corrupt(pixels.to(bench.device), name, severity, key, parameters).cpu()
                apart = (here.int() - there.int()).abs()
                found["compared"] += 1
                if apart.any():
                    share = float(apart.amax(1).gt(0).float().mean())
                    found["differing"][f"{table}/{name}/{severity}"] = [int(apart.max()), share]
    return found


def kernels(bench: Bench) -> Found:
    sets = [pictures(bench.batch, bench.side, number).to(bench.device) for number in range(2)]
    key = Key(1, torch.arange(bench.batch, device=bench.device))
    found: Found = {"microseconds": {}, "peak_mebibytes": {}}
    for name in registry.names():
        for severity in (3,) if bench.dry else (1, 3, 5):
            parameters = registry.parameters(bench.table, name, severity)

            def run(number: int, name: str = name, severity: int = severity, own: Any = parameters) -> object:
                return native.corrupt(sets[number], name, severity, key, own)

            seconds = bench.seconds(run, sets=2)
            found["microseconds"][f"{name}/{severity}"] = seconds / bench.batch * 1e6
            if not bench.dry:
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                run(0)
                peak = torch.cuda.max_memory_allocated() - before
                found["peak_mebibytes"][f"{name}/{severity}"] = peak / 2**20
    found["fused"] = sorted({str(asked[0]) for asked, trusted in fused._trusted.items() if trusted})
    return found


def forward(bench: Bench) -> Found:
    """Microseconds of a pass an image, and what compiling takes and changes."""
    found: Found = {}
    pixels = pictures(bench.batch, bench.side).to(bench.device)
    precisions: tuple[Precision, ...] = ("bf16",) if bench.dry else ("bf16", "fp32")
    for precision in precisions:
        classifier = Classifier(
            bench.network(), InputNormalization(), device=bench.device, precision=precision
        )
        layers, logits = attach(classifier.network), partial(classifier.logits, pixels)
        for text in MODES:
            mode, state = parse(text), State()
            layers.use(mode, state)
            drawn = pixels.repeat(-(-32 // len(pixels)), 1, 1, 1)
            mode.begin(classifier.logits, lambda count, _, drawn=drawn: drawn[:count], state)
            taken = bench.seconds(lambda _, run=logits: run(), repeats=10)
            found[f"{precision}/{text}"] = {
                "eager": taken / bench.batch * 1e6,
                **compiled(bench, classifier, pixels, logits()),
            }
    return found


def compiled(bench: Bench, classifier: Classifier, pixels: torch.Tensor, eager: torch.Tensor) -> Found:
    """A pass of the network compiled as it stands; on a CPU traced, but compiled by nobody."""
    torch.compiler.reset()
    backend = "eager" if bench.dry else "inductor"
    network = torch.compile(classifier.network, dynamic=False, fullgraph=True, backend=backend)
    begin = time.perf_counter()
    logits = classifier.logits(pixels, network)
    first = Clock(bench.device).now() - begin
    taken = bench.seconds(lambda _: classifier.logits(pixels, network), repeats=10)
    return {
        "compiled": taken / bench.batch * 1e6,
        "first_seconds": first,
        "largest_difference": float((logits - eager).abs().max()),
        "other_answers": float((logits.argmax(1) != eager.argmax(1)).float().mean()),
    }


def prepared(
    bench: Bench, modes: tuple[str, ...], images: int, corruptions: list[str]
) -> evaluation.Prepared:
    """A run of the benchmark's own network over made-up pictures."""
    rows = pictures(images, bench.side).permute(0, 2, 3, 1).contiguous().numpy()
    listing = list_arrays(rows, np.arange(images) % 1000, source="made up", classes=None, stamp="made up")
    run = config.resolve(
        config.load_preset("imagenet-c"),
        {
            "model": "module:ResNet", "data": "arrays", "corruptions": corruptions, "severities": [3],
            "modes": list(modes), "batch_size": 8 if bench.dry else 200, "device": str(bench.device),
            "precision": "fp32" if bench.dry else "bf16", "table": bench.table, "classes": "all",
        },
    )  # fmt: skip
    return evaluation.prepare_all([run], given=Given(bench.network(), listing))


def grid(bench: Bench) -> Found:
    """The loop's efficiency and speed, and its waits for each cell."""
    images = 40 if bench.dry else 4096
    chosen = ["contrast"] if bench.dry else list(gpu_report.FIFTEEN)
    found: Found = {}
    for modes in (("fixed",), THREE):
        ready = prepared(bench, modes, images, chosen)
        notes = compiling.settle(
            ready.subjects, ready.images, lambda subject, mode: images, "off" if bench.dry else "on", ALONE
        )
        with noted_waits(bench) as waits:
            whole, bare, parts = grid_speed.count(ready)
        conditions = len(ready.images.conditions)
        found["+".join(modes)] = {
            "efficiency": sum(bare.values()) / whole,
            "images_per_second": images * conditions / whole,
            "waits_per_cell": len(waits) / (conditions * len(modes)),
            "parts": parts,
            "compiled": notes.get(0, []),
            "hours_of_imagenet_c": whole / (images * conditions) * 50_000 * 76 / 3600,
        }
    return found


@contextlib.contextmanager
def noted_waits(bench: Bench) -> Iterator[list[str]]:
    """What the host had to wait for, as torch warns of it; nothing on a CPU."""
    seen: list[str] = []
    if bench.dry:
        yield seen
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield seen
        finally:
            torch.cuda.set_sync_debug_mode("default")
            seen += [str(one.message) for one in caught if "synchroniz" in str(one.message)]


def memory(bench: Bench) -> Found:
    """The same cells where the device holds a fraction of a chunk: parts, and answers that changed."""
    images = 16 if bench.dry else 512
    with short_memory(bench, on=False):
        (usual,) = evaluation.evaluate(prepared(bench, ("local",), images, ["contrast"]), [None])
    ready = prepared(bench, ("local",), images, ["contrast"])
    with short_memory(bench, on=True):
        (short,) = evaluation.evaluate(ready, [None])
    pairs = list(zip(usual.record.cells, short.record.cells, strict=True))
    return {
        "notes": [note for note in short.record.deviations if "memory" in note],
        "cells": len(pairs),
        "top1_apart": max(abs(one.scores["top1"] - other.scores["top1"]) for one, other in pairs),
    }


@contextlib.contextmanager
def short_memory(bench: Bench, *, on: bool) -> Iterator[None]:
    """Let the device have 1.5 GB; a CPU pretends to hold five images."""
    if not on:
        yield
    elif bench.dry:
        logits = Classifier._logits

        def limited(self: Classifier, pixels: torch.Tensor, *network: Any) -> torch.Tensor:
            if len(pixels) > 5:
                raise RuntimeError("CUDNN_STATUS_ALLOC_FAILED")
            return logits(self, pixels, *network)

        setattr(Classifier, "_logits", limited)  # noqa: B010 – mypy refuses the plain form
        try:
            yield
        finally:
            setattr(Classifier, "_logits", logits)  # noqa: B010
    else:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(bench.device).total_memory
        torch.cuda.set_per_process_memory_fraction(1.5e9 / total, bench.device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)


def nccl(bench: Bench) -> Found:
    """Counts added up over the one process there is."""
    backend = "gloo" if bench.dry else "cpu:gloo,cuda:nccl"
    distributed.init_process_group(
        backend, store=distributed.HashStore(), rank=0, world_size=1, timeout=timedelta(seconds=60)
    )
    try:
        counts = torch.arange(4096, dtype=torch.float64, device=bench.device)
        added = counts.clone()
        distributed.all_reduce(added)
        return {"backend": backend, "same": bool(torch.equal(added, counts))}
    finally:
        distributed.destroy_process_group()


STAGES: dict[str, Callable[[Bench], Found]] = {
    stage.__name__: torch.no_grad()(stage)
    for stage in (ceilings, agreement, kernels, forward, grid, memory, nccl)
}

if __name__ == "__main__":
    main()
