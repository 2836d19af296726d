"""The fused corruptions compiled for a GPU that need not be there: do they compile, and what do they execute?

python -m benchmarks.gpu_code    # seconds; instructions for each element, by kernel
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lnbench.corruptions.fused import color, glass, noise, zoom

TARGET = GPUTarget("cuda", 90, 32)
WARPS = {"follow": 1}  # else 4
_COMMON = {"pixels": "*u8", "out": "*u8", "states": "*i64", "size": "i32"}
# Each kernel with the types of its arguments, in the order in which it names them.
KERNELS: dict[str, tuple[Any, dict[str, str], dict[str, int]]] = {
    "add_offset": (noise.add_offset, {**_COMMON, "table": "*i16"}, {"BLOCK": noise.BLOCK}),
    "times_factor": (noise.times_factor, {**_COMMON, "table": "*fp32"}, {"BLOCK": noise.BLOCK}),
    "salt_and_pepper": (
        noise.salt_and_pepper, {**_COMMON, "low": "i32", "high": "i32"}, {"BLOCK": noise.BLOCK},
    ),
    "drawn_from": (noise.drawn_from, {**_COMMON, "table": "*i32", "columns": "i32"}, {"BLOCK": noise.BLOCK}),
    "adjust": (
        color.adjust,
        {"pixels": "*u8", "out": "*u8", "numbers": "*fp64", "size": "i32"},
        {"BLOCK": color.BLOCK},
    ),
    "add_zooms": (
        zoom.add_zooms,
        {"pixels": "*u8", "out": "*u8", "rows": "*i32", "columns": "*i32", "down": "*fp32", "right": "*fp32",
         "zooms": "i32", "share": "fp32", "nudge": "fp32", "height": "i32", "width": "i32"},
        {"BLOCK": zoom.BLOCK},
    ),
    "draw": (
        glass.draw,
        {"moves": "*i32", "states": "*i64", **dict.fromkeys(("delta", "height", "width"), "i32")},
        {"BLOCK": glass.DRAWN},
    ),
    "follow": (
        glass.follow,
        {"pixels": "*u8", "out": "*u8", "moves": "*i32",
         **dict.fromkeys(("images", "passes", "size"), "i32")},
        {"BLOCK": glass.FOLLOWED, "LINKS": 64},
    ),
}  # fmt: skip
_JUMP = re.compile(r"bra[.a-z]*\s+(\$L\w+);")
# What one instruction of the text takes of the machine, in places of a 32-bit one: 64-bit products are made
# of several, float64 runs at half rate, and a division in it is a loop of its own.
WEIGHTS = {r"div\.rn\.f64": 40.0, r"\.f64": 2.0, r"mul\.lo\.s64|mad\.lo\.s64": 4.0, r"\.[bsu]64": 2.0}


@lru_cache(maxsize=32)
def compiled(name: str) -> str:
    """A kernel as PTX for an H100 or H200; raises where Triton cannot compile it."""
    kernel, types, fixed = KERNELS[name]
    order = [argument for argument in kernel.arg_names if argument not in fixed]
    signature = {**{argument: types[argument] for argument in order}, **dict.fromkeys(fixed, "constexpr")}
    made = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=dict(fixed)),
        target=TARGET,
        options={"enable_fp_fusion": False, "num_warps": WARPS.get(name, 4)},
    )
    return str(made.asm["ptx"])


def instructions(name: str) -> tuple[float, float]:
    """Weighted instructions for each element: outside the innermost loop, and in one turn of it."""
    lines = [line.partition("//")[0].strip() for line in compiled(name).splitlines()]
    labels = {line[:-1]: number for number, line in enumerate(lines) if line.endswith(":")}
    jumps = {number: match[1] for number, line in enumerate(lines) if (match := _JUMP.search(line))}
    loops = [(labels[to], number) for number, to in jumps.items() if labels.get(to, number) < number]
    first, last = min(loops, key=lambda one: one[1] - one[0], default=(0, -1))
    straight = loop = 0.0
    for number, line in enumerate(lines):
        if line.endswith(";") and not line.startswith("."):
            weight = next((weight for pattern, weight in WEIGHTS.items() if re.search(pattern, line)), 1.0)
            if first < number <= last:
                loop += weight
            else:
                straight += weight
    elements = KERNELS[name][2]["BLOCK"] / (32 * WARPS.get(name, 4))  # of a thread
    return straight / elements, loop / elements


def main() -> None:
    for name in KERNELS:
        straight, loop = instructions(name)
        print(
            f"{name}: {straight:.0f} instructions for each element" + (f", {loop:.0f} a link" if loop else "")
        )


if __name__ == "__main__":
    main()
