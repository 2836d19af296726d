"""What `benchmarks.gpu` found, as a page: each target with what was measured, then the tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from lnbench.corruptions import registry

CORRUPTION_SHARE, GRID_EFFICIENCY, MINUTES = 0.05, 0.90, 20
LEVELS, SHARE = 1, 1e-4  # how far a device's pixels may be from the CPU's
FIFTEEN = tuple(name for name in registry.names() if registry.find(name).family != "extra")
Found = dict[str, Any]


def to_markdown(found: Found) -> str:
    dry = " **A dry run on a CPU: it shows that the script runs, and no speed.**" if found["dry"] else ""
    lines = [
        "# On a GPU",
        "",
        f"`python -m benchmarks.gpu`, {found['machine']}, {found.get('seconds', 0):.0f} s in all.{dry}",
        "",
        "| target | asked | found |",
        "|:--|--:|--:|",
        *(f"| {name} | {asked} | {got} |" for name, asked, got in targets(found)),
        "",
    ]
    for stage, table in (("kernels", kernel_table), ("forward", forward_table), ("grid", grid_table)):
        if has(found, stage):
            lines += [*table(found[stage]), ""]
    for stage in ("ceilings", "memory", "nccl"):
        if has(found, stage):
            told = ", ".join(
                f"{key} {value}" for key, value in found[stage].items() if key != "stage_seconds"
            )
            lines += [f"{stage}: {told}", ""]
    failed = [f"{name}: {part['failed']}" for name, part in found.items() if "failed" in of(part)]
    return "\n".join([*lines, *failed]).rstrip() + "\n"


def of(part: Any) -> Found:
    return part if isinstance(part, dict) else {}


def has(found: Found, stage: str) -> bool:
    return stage in found and "failed" not in found[stage]


def targets(found: Found) -> Iterator[tuple[str, str, str]]:
    if has(found, "agreement"):
        differing = found["agreement"]["differing"]
        beyond = [key for key, (most, share) in differing.items() if most > LEVELS or share > SHARE]
        yield (
            "pixels of the CPU: one level in 10,000",
            "all",
            f"{found['agreement']['compared'] - len(beyond)} of {found['agreement']['compared']}",
        )
    if has(found, "kernels") and has(found, "forward"):
        mean = mean_of_fifteen(found["kernels"])
        for key in ("eager", "compiled"):
            share = mean / found["forward"]["bf16/fixed"][key]
            yield f"corruption, of a bf16 pass ({key})", f"≤ {CORRUPTION_SHARE:.0%}", f"{share:.1%}"
    if has(found, "grid"):
        three = found["grid"]["fixed+batch+adapt:n=32"]
        yield "grid efficiency, three modes", f"≥ {GRID_EFFICIENCY:.2f}", f"{three['efficiency']:.2f}"
        minutes = three["hours_of_imagenet_c"] * 60
        yield "ImageNet-C, three modes", f"< {MINUTES} min", f"{minutes:.0f} min"


def mean_of_fifteen(kernels: Found) -> float:
    taken = [value for key, value in kernels["microseconds"].items() if key.split("/")[0] in FIFTEEN]
    return statistics.mean(taken)


def kernel_table(kernels: Found) -> Iterator[str]:
    severities = sorted({key.split("/")[1] for key in kernels["microseconds"]})
    yield "| corruption | " + " | ".join(f"µs/image, severity {one}" for one in severities) + " |"
    yield "|:--|" + "--:|" * len(severities)
    for name in registry.names():
        row = (f"{kernels['microseconds'][f'{name}/{one}']:.2f}" for one in severities)
        yield f"| {name} | {' | '.join(row)} |"
    yield f"| in one pass: {', '.join(kernels['fused']) or 'none'} |" + " |" * len(severities)
    yield f"| **mean of the fifteen** | {mean_of_fifteen(kernels):.2f} |" + " |" * (len(severities) - 1)


def forward_table(forward: Found) -> Iterator[str]:
    yield "| pass | µs/image | compiled | first call, s | largest difference | other answers |"
    yield "|:--|--:|--:|--:|--:|--:|"
    for key, row in forward.items():
        if key != "stage_seconds":
            yield (
                f"| {key} | {row['eager']:.1f} | {row['compiled']:.1f} | {row['first_seconds']:.1f} | "
                f"{row['largest_difference']:.2g} | {row['other_answers']:.2%} |"
            )


def grid_table(grid: Found) -> Iterator[str]:
    yield "| modes | efficiency | images/s | waits a cell | ImageNet-C, hours |"
    yield "|:--|--:|--:|--:|--:|"
    for key, row in grid.items():
        if key != "stage_seconds":
            yield (
                f"| {key.replace('+', ', ')} | {row['efficiency']:.2f} | {row['images_per_second']:,.0f} | "
                f"{row['waits_per_cell']:.1f} | {row['hours_of_imagenet_c']:.2f} |"
            )
