"""What the corruptions would cost on a GPU, predicted from what they launch and move: a roofline.

    python -m benchmarks.gpu_cost                     # minutes; prints the table
    python -m benchmarks.gpu_cost -o results/NAME     # and writes NAME.json and NAME.md
    python -m benchmarks.gpu_cost --only snow --lines # operation by operation
    python -m benchmarks.gpu_cost --eager             # without the fused forms

Every operation of a corruption is seen on the stand-in for a device (tests/device.py), for two and for three
images at 224 px; what grows with the images is scaled to a batch of 256. An operation takes as long as the
slowest of: a launch, its bytes, its arithmetic, its results, its scattered look-ups. The rates are those of
an H200 as far as published or measured elsewhere (`RATES`); the whole is good to some 30 %. The share is of
an eager bf16 pass of ResNet-50, 56 µs an image. A fused form (lnbench/corruptions/fused) is a launch with its
operands in and out once and the instructions that Triton's compiler makes of it for the types and alignments
of the launch; a load or store of 4 bytes takes the place of four others, wherever it finds them
(benchmarks/gpu_code.py). No figure here was measured on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmarks import gpu_code
from benchmarks.gpu_report import FIFTEEN
from lnbench.corruptions import blur, fused, native, registry
from lnbench.corruptions.fused import glass
from lnbench.corruptions.rng import Key
from tests.device import Device, fresh_tables
from tests.test_device import photographs

HERE = Path(__file__).parent
BATCH, SIDE, FORWARD = 256, 224, 56.0  # images, pixels, µs an image
GOAL_MEAN, GOAL_EACH = 2.8, 8.0
RATES = {
    "bytes": 4.8e12 * 0.75,  # datasheet; elementwise kernels get about three quarters
    "fp32": 67e12 * 0.5,
    "fp64": 34e12 * 0.5,
    "depthwise": 67e12 * 0.10,  # torch's own depthwise convolution, 11 % of peak where published
    "results": 1.2e12,
    "lookups": 2.0e11,  # single elements: 32-byte sectors of the L2 cache
    "instructions": 132 * 128 * 1.755e9 * 0.6,  # of 32 bits: processors, lanes, clock, and what of it is had
    "taps": 2.0e12,  # weighted values of embedding_bag
}
LAUNCH = 2.2e-6
PICKING = ("index_select", "gather", "index", "embedding", "take")
SCATTERING = ("index_put_", "scatter_add_", "scatter_")
FILLING = (
    "zeros",
    "zeros_like",
    "ones",
    "full",
    "full_like",
    "arange",
    "fill_",
    "zero_",
    "new_full",
    "new_zeros",
)


@dataclass(frozen=True)
class Work:
    """One operation: bytes moved, arithmetic and its rate, results, and single look-ups; for some images."""

    name: str
    bytes: float
    flops: float
    rate: str
    results: float
    lookups: float
    taps: float

    def scaled(self, more: Work) -> Work:
        """For BATCH images, where this is for two and `more` for three."""
        assert self.name == more.name

        def at(two: float, three: float) -> float:
            return two + (BATCH - 2) * (three - two)

        pairs = (
            (getattr(self, key), getattr(more, key))
            for key in ("bytes", "flops", "results", "lookups", "taps")
        )
        moved, flops, results, lookups, taps = (at(*pair) for pair in pairs)
        return Work(self.name, moved, flops, self.rate, results, lookups, taps)

    @property
    def seconds(self) -> float:
        rates = RATES
        return max(
            LAUNCH,
            self.bytes / rates["bytes"],
            self.flops / rates[self.rate],
            self.results / rates["results"],
            self.lookups / rates["lookups"],
            self.taps / rates["taps"],
        )


def reach(tensor: Tensor) -> int:
    """Bytes behind a tensor: broadcast axes count once, overlapping windows too."""
    count, last = 1, 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
        last += (size - 1) * abs(stride)
    return min(count, max(last, 0)) * tensor.element_size()


def worked(name: str, args: Any, kwargs: Any, result: Any) -> Work:
    """What one operation moves and computes."""
    read = [
        leaf
        for leaf in tree_leaves((args, {k: v for k, v in kwargs.items() if k != "out"}))
        if isinstance(leaf, Tensor)
    ]
    made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    written = sum(reach(one) for one in made)
    moved = sum(reach(one) for one in read) + written
    results = float(sum(one.numel() for one in made))
    flops, rate, lookups, taps = results, "fp32", 0.0, 0.0
    if made and made[0].dtype == torch.float64:
        rate = "fp64"
    if name in PICKING:
        moved = min(reach(read[0]), written) + sum(reach(one) for one in read[1:]) + written
        whole_rows = name in ("index_select", "embedding") and read[0].ndim > 1 and read[0][0].numel() > 8
        lookups = 0.0 if whole_rows else results
    elif name in SCATTERING:
        moved, lookups = 2 * sum(reach(one) for one in read[1:]), float(read[1].numel())
    elif name in FILLING:
        moved = written
    elif name == "copy_":
        moved = sum(reach(one) for one in read[1:]) + written
    elif name == "convolution":
        weight, groups = args[1], args[8]
        flops = 2 * results * weight[0].numel()
        rate = "depthwise" if groups > 1 and groups == args[0].shape[1] else rate
    elif name in ("mm", "bmm", "addmm", "baddbmm"):
        flops = 2 * results * read[-1].shape[-2]
    elif "embedding_bag" in name:
        moved = reach(read[0]) + sum(reach(one) for one in read[1:]) + reach(made[0])
        results, taps = float(made[0].numel()), float(args[1].numel() * args[0].shape[1])
        flops = 2 * taps
    return Work(name, moved, flops, rate, 0.0 if rate == "depthwise" else results, lookups, taps)


def trace(run: Callable[[Tensor, Key], object], images: int) -> list[Work]:
    """The operations of what is run, its tables being made; a kernel's launch is one of them."""
    pixels, ids = photographs(4, SIDE)[:images], torch.arange(7, 7 + images)
    found: list[Work] = []
    with torch.no_grad(), fresh_tables(), Device() as gpu:
        given, key = pixels.to("cuda"), Key(1, ids.to("cuda"))
        with gpu_code.noted(lambda launch: None):
            run(given, key)
        gpu.watch = lambda *call: found.append(worked(*call))
        with gpu_code.noted(lambda launch: found.append(one_pass(launch))):
            run(given, key)
    return found


def predicted(name: str, severity: int, *, eager: bool = False) -> list[Work]:
    """The operations of a corruption for BATCH images, in its fused form where there is one."""
    parameters = registry.parameters("imagenet", name, severity)
    kernel = None if eager else fused.written(name)

    def run(pixels: Tensor, key: Key) -> None:
        if kernel is None:
            native.corrupt(pixels, name, severity, key, parameters)
        else:
            kernel(pixels, parameters, key.stream(name))

    return [one.scaled(other) for one, other in zip(trace(run, 2), trace(run, 3), strict=True)]


def one_pass(launch: gpu_code.Launch) -> Work:
    """A fused kernel: its operands once, and the instructions that its threads execute."""
    straight, loop = gpu_code.instructions(gpu_code.compiled(launch))
    turns, again = TURNS[launch.name](launch.arguments) if loop else (0.0, 0.0)
    tensors = [value for value in launch.arguments.values() if isinstance(value, Tensor)]
    moved = sum(map(reach, tensors)) + again
    count = launch.programs * launch.threads * (straight + turns * loop)
    return Work(launch.name, moved, count, "instructions", 0.0, 0.0, 0.0)


def followed(arguments: dict[str, Any]) -> tuple[float, float]:
    """Glass blur's links: all passes' longest chains, each link read from memory."""
    chain = 1 + links(4)  # the widest table's moves, which make the longest chains
    return arguments["passes"] * chain, reach(arguments["moves"]) * (chain - 1)


# Turns of a kernel's innermost loop, and bytes that it reads beyond its operands, by its arguments.
TURNS: dict[str, Callable[[dict[str, Any]], tuple[float, float]]] = {
    "spread": lambda arguments: (arguments["STRIP"] + len(arguments["TAPS"]) - 1, 0.0),
    "disperse": lambda arguments: (arguments["STRIP"] + len(arguments["RUNS"]) - 1, 0.0),
    "smear": lambda arguments: (arguments["taps"], 0.0),
    "add_zooms": lambda arguments: (arguments["zooms"], 0.0),
    "follow": followed,
}


def links(delta: int) -> float:
    """Links of the longest chain among pixels that are followed together, on average; see `fused.glass`."""
    steps = blur.random_steps(Key(1, torch.arange(1)), delta, SIDE, SIDE)
    move = (steps[0, 1] * SIDE + steps[0, 0]).view(-1)
    inside = blur._visited(SIDE, SIDE, delta, torch.device("cpu")).view(-1)
    place, count = torch.arange(SIDE * SIDE), torch.ones(SIDE * SIDE)
    going = torch.ones(SIDE * SIDE, dtype=torch.bool)
    for _ in range(64):
        step = move[place] * inside[place] * going
        place, going = place + step, going & (step > 0)
        count += going
    return float(count.view(-1, glass.FOLLOWED).amax(1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=registry.names(), help="repeatable")
    parser.add_argument("--eager", action="store_true", help="without the fused forms")
    parser.add_argument("--lines", action="store_true", help="operation by operation, severity 3")
    parser.add_argument("-o", "--output", type=Path, help="without suffix: .json and .md, beside this file")
    given = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in given.only or registry.names():
        found[name] = {}
        for severity in range(1, 6):
            works = predicted(name, severity, eager=given.eager)
            found[name][str(severity)] = {
                "launches": len(works),
                "megabytes": round(sum(one.bytes for one in works) / BATCH / 1e6, 2),
                "microseconds": round(sum(one.seconds for one in works) / BATCH * 1e6, 2),
            }
            if given.lines and severity == 3:
                print("\n".join(lines(works)))
        print(name, found[name], flush=True)
    text = to_markdown(found)
    print(text)
    if given.output is not None:
        place = HERE / given.output
        place.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        place.with_suffix(".md").write_text(text)


def lines(works: Iterable[Work]) -> Iterable[str]:
    for one in works:
        yield f"{one.name:28} {one.bytes / BATCH / 1e6:8.2f} MB {one.seconds / BATCH * 1e6:8.3f} µs"


def to_markdown(found: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        "# Corruptions on a GPU, predicted",
        "",
        f"`python -m benchmarks.gpu_cost`: {SIDE} px, batches of {BATCH}, an H200 by its roofline,",
        f"to some 30 %; the share is of {FORWARD:.0f} µs, an eager bf16 pass of ResNet-50; not measured.",
        "",
        "| corruption | launches | MB/image | µs/image | share |",
        "|:--|--:|--:|--:|--:|",
    ]
    for name, own in found.items():
        ranges = [
            spread([row[key] for row in own.values()]) for key in ("launches", "megabytes", "microseconds")
        ]
        share = statistics.mean(row["microseconds"] for row in own.values()) / FORWARD
        rows.append(f"| {name} | {' | '.join(ranges)} | {share:.0%} |")
    fifteen = [row["microseconds"] for name in FIFTEEN for row in found.get(name, {}).values()]
    if fifteen:
        mean, most = statistics.mean(fifteen), max(fifteen)
        rows += [
            f"| **the fifteen** | | | mean {mean:.1f}, at most {most:.1f} | {mean / FORWARD:.1%} |",
            "",
            f"Goal: a mean of at most {GOAL_MEAN} µs an image, none above {GOAL_EACH:.0f}: "
            + ("met." if mean <= GOAL_MEAN and most <= GOAL_EACH else "missed."),
        ]
    return "\n".join(rows) + "\n"


def spread(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


if __name__ == "__main__":
    main()
