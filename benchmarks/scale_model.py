"""What a run costs on many devices: the dealing simulated, the cost model held against measurements.

    python -m benchmarks.scale_model --simulate      # ImageNet-C on up to 4,000 devices, no computation
    python -m benchmarks.scale_model --measure       # a small run on 1 and 2 processes of one thread each

The simulation deals with `evaluate.shard`, as a run does, and lets every unit cost what its corruption
costs; nothing is averaged. A condition's unit is a chunk of 256 images in the modes without a batch, and a
batch of 200 in the others.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lnbench.corruptions.registry import BENCHMARK
from lnbench.evaluate import shard
from lnbench.models import checkpoint, registry
from tests.networks import write_task
from tests.processes import run_world

WORLDS = (1, 2, 3, 8, 16, 64, 128, 256, 512, 1000, 2000, 4000)
# Cost of corrupting an image in forward passes of ResNet-50 (bf16, one device): most corruptions are a few
# element-wise passes, these are more. Only the spread matters here: it is what makes devices wait.
HEAVY = {"zoom_blur": 0.3, "glass_blur": 0.2, "motion_blur": 0.15, "defocus_blur": 0.1,
         "elastic_transform": 0.1,
         "frost": 0.05, "snow": 0.1, "fog": 0.05, "jpeg_compression": 0.1}  # fmt: skip
USUAL = 0.03


@dataclass(frozen=True)
class Grid:
    """A run to deal: sizes, and how many modes need no batch or one."""

    images: int = 50_000
    chunk: int = 256
    batch: int = 200
    apart: int = 2
    together: int = 1
    adapted: int = 32  # images of one mode's statistics, computed by every process that has a part


def simulate(grid: Grid, world: int) -> dict[str, float]:
    """Waiting at the end of every window, in shares of all devices' time, and what stood in flight."""
    costs = [0.0] + [HEAVY.get(name, USUAL) for name in BENCHMARK[:15] for _ in range(5)]
    load = shard.Load(
        chunks=math.ceil(grid.images / grid.chunk) if grid.apart else 0,
        batches=math.ceil(grid.images / grid.batch) if grid.together else 0,
    )
    elapsed = 0.0
    windows, done = [], 0
    while done < len(costs):
        count = shard.window(load, world, len(costs) - done)
        spent = []
        for rank in range(world):
            parts = shard.parts(load, count, rank, world)
            spent.append(
                sum(_cost(grid, part, cost) for part, cost in zip(parts, costs[done:], strict=False))
            )
        elapsed += max(spent)
        done += count
        windows.append(count)
    forwards = grid.apart + grid.together
    useful = sum(grid.images * (forwards + cost) for cost in costs)
    return {
        "world": world,
        "windows": len(windows),
        "conditions_in_flight": max(windows),
        "idle_and_overhead": 1 - useful / (elapsed * world),
        "hours_at_1000_images_per_second": elapsed / 1000 / 3600,
    }


def _cost(grid: Grid, share: shard.Part, corruption: float) -> float:
    """In forward passes of one image. An image is corrupted once where its chunk and batch are both here."""
    chunked = _span(share.chunks, grid.chunk, grid.images)
    batched = _span(share.batches, grid.batch, grid.images)
    both = max(chunked.stop, batched.stop) - min(chunked.start, batched.start)
    corrupted = min(both, len(chunked) + len(batched)) if chunked and batched else len(chunked) + len(batched)
    adapted = grid.adapted * (1 + corruption) if chunked else 0
    filled = len(share.batches) * grid.batch
    return grid.apart * len(chunked) + grid.together * filled + corruption * corrupted + adapted


def _span(units: range, size: int, images: int) -> range:
    return range(units.start * size, min(units.stop * size, images)) if units else range(0)


def measure(images: int = 900) -> dict[str, object]:
    """A run of ResNet-20 on one and on two processes, one thread each, in turn and twice."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _, _, data = write_task(root, images=images)
        network = registry.build(registry.parse("cifar:resnet20"), classes=None, pretrained=False).network
        checkpoint.write(root / "r20.pth", network.state_dict(), extras={}, metadata={})
        command = [
            "evaluate", "--model", "cifar:resnet20", "--weights", root / "r20.pth", "--data", data,
            "--corruption", "contrast", "--corruption", "gaussian_noise", "--severity", 3, "--severity", 5,
            "--norm", "fixed", "--norm", "batch", "--norm", "adapt:n=32", "--out",
        ]  # fmt: skip
        found: dict[str, object] = {"images": images}
        for world in (1, 2, 1, 2):
            begin = time.monotonic()
            ended = run_world(world, [*command, root / f"{world}-{begin}"], root / "said", patience=600)
            assert {process.code for process in ended} == {0}, ended
            record = json.loads((root / f"{world}-{begin}" / "results.json").read_text())
            found.setdefault(f"world_{world}", []).append(  # type: ignore[attr-defined]
                {
                    "wall_seconds": round(time.monotonic() - begin, 2),
                    "forward_seconds_of_all_processes": round(sum(c["seconds"] for c in record["cells"]), 2),
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/scale_model.json"))
    given = parser.parse_args()
    found = json.loads(given.output.read_text()) if given.output.exists() else {}
    if given.simulate:
        found["simulated"] = [simulate(Grid(), world) for world in WORLDS]
        for row in found["simulated"]:
            print(" ".join(f"{name}={value:.4g}" for name, value in row.items()))
    if given.measure:
        found["measured"] = measure()
        print(json.dumps(found["measured"], indent=1))
    given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
