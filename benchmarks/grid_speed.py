"""How near the whole grid comes to its own forward passes, and how far it is from the usual way.

    python -m benchmarks.grid_speed --model cifar:resnet20 --weights W --data npz:D --preset cifar10-c \
        --norm fixed --norm batch --norm adapt:n=32 --usual 60 -o benchmarks/results/grid_speed_resnet20

In one process and interleaved condition by condition, so that both sides see the same machine:

- the bare forward pass: the network in the mode, on resident float tensors, same chunk size, precision,
  memory format and threads; nothing is corrupted, counted or written;
- the grid: everything `lnbench evaluate` does, its run folder included. Grid efficiency is bare / grid;
- where the grid's time goes, by timers around its parts: on a GPU events, which nothing waits for;
- the usual way, on `--usual` images: a DataLoader that decodes each image and calls imagecorruptions on
  it, one pass for each mode, batches of 64, NCHW. Loading is timed in one process and divided by the
  number of threads, as if as many workers lost no moment; the sum is scaled to all images. The parameters
  of imagecorruptions are those of 224 px whatever the table; this hardly changes its cost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.clock import Clock
from lnbench import config, files, metrics
from lnbench.corruptions import native, reference
from lnbench.data import loading, specs
from lnbench.data.geometry import fit
from lnbench.evaluate import evaluation, loop, prepare, record
from lnbench.evaluate.stream import Stream, chunk_size
from lnbench.memory import keep_freed
from lnbench.models.classifier import Classifier
from lnbench.norm.modes import local
from lnbench.norm.state import State
from lnbench.results.store import RunFolder
from lnbench.types import Condition

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="cifar10-c")
    for name in ("--model", "--data"):
        parser.add_argument(name, required=True)
    for name in ("--weights", "--corruption", "--norm"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--severity", type=float, action="append", default=[])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: with one thread, on a busy machine"
    )
    parser.add_argument("--usual", type=int, default=0, help="images of the usual way; 0 leaves it out")
    parser.add_argument("-o", "--output", type=Path, required=True, help="without suffix: .json and .md")
    given = parser.parse_args()
    keep_freed()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = measure(given)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    given.output.with_suffix(".md").write_text(to_markdown(found))
    print(to_markdown(found))


def resolved(given: argparse.Namespace) -> config.RunConfig:
    return config.resolve(
        config.load_preset(given.preset),
        {
            "model": given.model,
            "weights": given.weights[0] if given.weights else None,
            "data": given.data,
            "corruptions": given.corruption or None,
            "severities": given.severity or None,
            "modes": given.norm or None,
            "limit": given.limit,
            "batch_size": given.batch_size,
            "precision": given.precision,
            "device": given.device,
        },
    )


def measure(given: argparse.Namespace) -> dict[str, Any]:
    run, clock = resolved(given), CLOCKS[given.clock]
    opening = Clock(torch.device("cpu"), clock)
    with _timed(loading, "open_store", opening):
        ready = evaluation.prepare_all([run])
    subject = ready.subjects[0]
    grid, bare, parts = count(ready, clock)
    decode = opening.seconds()["open_store"]
    images, conditions = len(ready.images.clean.labels), len(ready.images.conditions)
    found: dict[str, Any] = {
        "machine": machine(subject.classifier.device),
        "clock": given.clock,
        "model": run.model,
        "preset": run.preset,
        "precision": run.precision,
        "images": images,
        "side": ready.images.clean.images.shape[-1],
        "conditions": conditions,
        "modes": [str(mode) for mode in subject.modes],
        "chunk": chunk_size(subject.classifier.device, *ready.images.clean.images.shape[2:]),
        "batch_size": subject.config.batch_size,
        "seconds": {"decode": decode, "grid": grid, "bare": bare, **parts},
        "efficiency": sum(bare.values()) / grid,
        "forwards_per_second": images * conditions * len(subject.modes) / grid,
        "peak_memory_mib": _peak(subject.classifier.device),
    }
    if given.usual:
        found["usual"] = _usual_way(run, subject, ready, given.usual)
        total = found["usual"]["seconds_per_image"] * images * conditions
        found["usual"] |= {"seconds": total, "speedup": total / (grid + decode)}
    return found


def count(
    ready: evaluation.Prepared, host: Callable[[], float] = time.perf_counter
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Seconds of the whole grid of one subject, of bare passes by mode, and of the grid's parts."""
    subject = ready.subjects[0]
    grid = 0.0
    resident = _resident(subject, ready.images.clean)
    warm, bare = Clock(subject.classifier.device, host), Clock(subject.classifier.device, host)
    _bare(subject, resident, warm)
    parts = Clock(subject.classifier.device, host)
    with tempfile.TemporaryDirectory() as folder, _instrumented(subject, parts):
        head = record.run(subject, ready.images, "", 1)
        with RunFolder.create_or_resume(Path(folder) / "run", head) as out:
            begin = parts.now()
            for condition, results in loop.run(ready.subjects, ready.images, lambda s, m, c: False):
                cells = [cell for _, own in results for cell in own]
                out.append([record.cell(subject, cell, ready.images.clean) for cell in cells])
                grid += parts.now() - begin
                parts.paused = True
                _bare(subject, resident, bare)
                parts.paused = False
                spent = sum(bare.seconds().values())
                print(f"{condition}: grid {grid:.1f} s, bare {spent:.1f} s", flush=True)
                begin = parts.now()
            out.finish(labels=ready.images.clean.labels, ids=ready.images.clean.ids)
            grid += parts.now() - begin
    found = parts.seconds()
    # What the forward pass does not explain of the logits is scaling pixels to the network's input.
    found["normalization"] = found.pop("logits") - found["forward"]
    found["writing"] = found.pop("appending") + found.pop("finishing")
    return grid, bare.seconds(), found


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _resident(subject: prepare.Subject, store: Any) -> list[torch.Tensor]:
    """All images as the network's input, in chunks of the engine's size."""
    classifier = subject.classifier
    stream = Stream(store, Condition("clean", 0), subject.config, classifier.device, seed=0, corrupted=True)
    with torch.inference_mode():
        return [
            torch.addcmul(
                classifier.offset,
                stream.pixels(positions).to(torch.float32, memory_format=classifier.format),
                classifier.scale,
            ).to(classifier.dtype)
            for positions in stream.chunks()
        ]


def _bare(subject: prepare.Subject, resident: list[torch.Tensor], clock: Clock) -> None:
    """One forward pass over all images for each mode; modes without batch in `fixed` and as themselves."""
    network, layers = subject.classifier.network, subject.layers
    size = subject.config.batch_size
    batches: list[torch.Tensor] = []
    if any(mode.unit == "batch" for mode in subject.modes):
        batches = list(torch.cat(resident).split(size))
        if len(batches[-1]) < size:
            batches[-1] = torch.cat([batches[-1], batches[0]])[:size]
    with torch.inference_mode():
        for mode in subject.modes:
            state = State()
            layers.use(mode, state)
            with clock.part(str(mode)):
                mode.begin(network, partial(_first, resident), state)
                for part in batches if mode.unit == "batch" else resident:
                    network(part)


def _first(resident: list[torch.Tensor], count: int, draw: int) -> torch.Tensor:
    return torch.cat(resident[: -(-count // len(resident[0]))])[:count]


@contextlib.contextmanager
def _timed(owner: Any, name: str, clock: Clock, key: str = "") -> Iterator[None]:
    """Add up the time spent in `owner.name`, under `key` or its name."""
    original = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        with clock.part(key or name):
            return original(*args, **kwargs)

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def _instrumented(subject: prepare.Subject, parts: Clock) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, key in (
            (native, "corrupt", "corruption"),
            (reference, "corrupt", "corruption"),
            (Stream, "_to_device", "transfer"),
            (subject.classifier.network, "forward", "forward"),
            (Classifier, "logits", "logits"),
            (metrics, "count", "metrics"),
            (local, "combine", "metrics"),
            (files, "append_whole", "writing"),
            (RunFolder, "append", "appending"),
            (RunFolder, "finish", "finishing"),
        ):
            stack.enter_context(_timed(owner, name, parts, key))
        yield


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Usual(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Decode, corrupt by imagecorruptions, normalize: one image at a time."""

    def __init__(
        self, listing: Any, geometry: Any, ids: np.ndarray, condition: Condition, subject: Any
    ) -> None:
        self.listing, self.geometry, self.ids, self.condition = listing, geometry, ids, condition
        self.mean = torch.tensor(subject.normalization.mean).view(3, 1, 1)
        self.std = torch.tensor(subject.normalization.std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        index = int(self.ids[place])
        pixels = np.array(fit(self.listing.read(index)[0], self.geometry))
        if not self.condition.is_clean:
            pixels = reference.corrupt(
                pixels[None], self.condition.corruption, int(self.condition.severity), 0, np.array([index])
            )[0]
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return (image - self.mean) / self.std, int(self.listing.labels[index])


def _usual_way(run: config.RunConfig, subject: Any, ready: Any, count: int) -> dict[str, Any]:
    """Seconds for an image under a condition in all modes."""
    spec = specs.parse(run.data)
    listing = specs.listing(spec)
    ids = ready.images.clean.ids[:: max(1, len(ready.images.clean.ids) // count)][:count]
    network = subject.classifier.network.to(memory_format=torch.contiguous_format)
    loading = forward = 0.0
    for condition in ready.images.conditions:
        dataset = _Usual(listing, subject.geometry, ids, condition, subject)
        for mode in subject.modes:
            state = State()
            subject.layers.use(mode, state)
            begin = time.perf_counter()
            batches = list(torch.utils.data.DataLoader(dataset, batch_size=64))
            loading += time.perf_counter() - begin
            begin = time.perf_counter()
            with torch.no_grad():
                mode.begin(network, lambda n, draw: batches[0][0][:n], state)  # noqa: B023 – called at once
                right = 0
                for images, labels in batches:
                    right += int((network(images).argmax(1) == labels).sum())
            forward += time.perf_counter() - begin
    network.to(memory_format=subject.classifier.format)
    # A worker for each core would load while the network runs, at best without a moment lost.
    counted = len(ids) * len(ready.images.conditions)
    per_image = (loading / torch.get_num_threads() + forward) / counted
    return {
        "images": len(ids),
        "loading_seconds_per_image": loading / counted,
        "forward_seconds_per_image": forward / counted,
        "seconds_per_image": per_image,
    }


def to_markdown(found: dict[str, Any]) -> str:
    seconds, grid = found["seconds"], found["seconds"]["grid"]
    rows = [("whole grid", grid)]
    parts = ("forward", "corruption", "transfer", "normalization", "metrics", "writing")
    rows += [(f"· {name}", seconds.get(name, 0.0)) for name in parts]
    rows.append(("decoding, once", seconds["decode"]))
    least = seconds["bare"].get("fixed")
    for mode, spent in seconds["bare"].items():
        ratio = f", {spent / least:.2f} × fixed" if least and mode != "fixed" else ""
        rows.append((f"bare forward pass, {mode}{ratio}", spent))
    text = (
        f"{found['machine']}; {'CPU' if found['clock'] == 'cpu' else 'wall'} time.\n\n"
        f"{found['model']}, {found['precision']}, {found['images']} images of {found['side']} px, "
        f"preset {found['preset']}, {found['conditions']} conditions × {', '.join(found['modes'])}; "
        f"chunks of {found['chunk']}, batches of {found['batch_size']}.\n\n"
        "| what | seconds | share of the grid |\n|---|---:|---:|\n"
    )
    text += "".join(f"| {name} | {spent:.2f} | {spent / grid:.1%} |\n" for name, spent in rows)
    text += (
        f"\nGrid efficiency {found['efficiency']:.3f}; {found['forwards_per_second']:,.0f} forward passes "
        f"a second; peak memory {found['peak_memory_mib']:,.0f} MiB.\n"
    )
    if "usual" in found:
        usual = found["usual"]
        text += (
            f"\nThe usual way takes {usual['seconds']:,.0f} s (measured on {usual['images']} images of every "
            f"condition: {usual['loading_seconds_per_image'] * 1000:.2f} ms of one core to load an image for "
            f"all modes, {usual['forward_seconds_per_image'] * 1000:.2f} ms forward): "
            f"**{usual['speedup']:.1f} ×** the time of decoding and grid together.\n"
        )
    return text


if __name__ == "__main__":
    main()
