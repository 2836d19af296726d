"""The fused corruptions compiled for a GPU that need not be there: do they compile, and what do they execute?

python -m benchmarks.gpu_code    # a minute; instructions for each thread, kernel by kernel

A fused form is run on the stand-in for a device (tests/device.py), where its launches are noted instead of
made: each kernel is then compiled for the very types, alignments and constants it was launched with.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from lnbench.corruptions import fused, registry
from lnbench.corruptions.rng import Key
from tests.device import Device, fresh_tables
from tests.test_device import photographs

TARGET = GPUTarget("cuda", 90, 32)
_TYPES = {torch.uint8: "u8", torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64",
          torch.float32: "fp32", torch.float64: "fp64"}  # fmt: skip
# What one instruction of the text takes of the machine, in places of a 32-bit one: 64-bit products are made
# of several, float64 runs at half rate, a division is a loop of its own. A processor has 32 units
# for loads and stores beside 128 lanes (NVIDIA H100 Tensor Core GPU Architecture, figure 7), 4 bytes a lane:
# four places for every 4 bytes, also where the cache has them.
WEIGHTS = {
    r"(?:div|rem)\.[su]32": 20.0,
    r"div\.rn\.f64": 40.0,
    r"\.f64": 2.0,
    r"mul\.lo\.s64|mad\.lo\.s64": 4.0,
    r"\.[bsu]64": 2.0,
}
_MEMORY = re.compile(r"\b(?:ld|st|atom|red)\.(?:global|shared)[.:\w]*?(?:\.v(\d))?\.[bsuf](\d+)\b")
_JUMP = re.compile(r"bra[.a-z]*\s+(\$L\w+);")


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: its arguments by name, constants among them, how many programs, its options."""

    kernel: Any
    arguments: dict[str, Any]
    programs: int
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)

    @property
    def threads(self) -> int:
        return 32 * int(dict(self.options).get("num_warps", 4))


@contextlib.contextmanager
def noted(note: Callable[[Launch], None]) -> Iterator[None]:
    """Note launches instead of making them."""

    def run(kernel: Any, *given: Any, grid: Any, warmup: bool, **named: Any) -> None:
        arguments = dict(zip(kernel.arg_names, given, strict=False))
        arguments |= {name: named.pop(name) for name in kernel.arg_names if name in named}
        programs = 1
        for count in grid:
            programs *= count
        if "out" in arguments:  # what is computed from it should be computed from numbers
            arguments["out"].values.zero_()
        note(Launch(kernel, arguments, programs, tuple(sorted(named.items()))))

    with mock.patch.object(JITFunction, "run", run):
        yield


def launches(name: str, severity: int, side: int = 224) -> list[Launch]:
    """The kernels that the fused form of a corruption launches for two images."""
    found: list[Launch] = []
    kernel = fused.written(name)
    assert kernel is not None
    with torch.no_grad(), fresh_tables(), Device(), noted(found.append):
        pixels, key = photographs(2, side).to("cuda"), Key(1, torch.arange(7, 9).to("cuda"))
        kernel(pixels, registry.parameters("imagenet", name, severity), key)
    return found


def compiled(launch: Launch) -> str:
    """A kernel as PTX for an H100 or H200; raises where Triton cannot compile it."""
    fixed = {parameter.name for parameter in launch.kernel.params if parameter.is_constexpr}
    general = {parameter.name for parameter in launch.kernel.params if parameter.do_not_specialize}
    signature, constants, aligned = [], [], []
    for place, (name, value) in enumerate(launch.arguments.items()):
        if name in fixed or (name not in general and isinstance(value, int) and value == 1):
            signature.append((name, "constexpr"))
            constants.append((name, value))
            continue
        if isinstance(value, Tensor):
            signature.append((name, "*" + _TYPES[value.dtype]))
            whole = (value.storage_offset() * value.element_size()) % 16 == 0
        else:
            wide = isinstance(value, int) and not -(2**31) <= value < 2**31
            signature.append((name, "fp32" if isinstance(value, float) else "i64" if wide else "i32"))
            whole = isinstance(value, int) and value % 16 == 0
        if whole and name not in general:
            aligned.append(place)
    return _compiled(launch.kernel, tuple(signature), tuple(constants), tuple(aligned), launch.options)


@lru_cache(maxsize=256)
def _compiled(
    kernel: Any,
    signature: tuple[tuple[str, str], ...],
    constants: tuple[tuple[str, Any], ...],
    aligned: tuple[int, ...],
    options: tuple[tuple[str, Any], ...],
) -> str:
    attributes = {(place,): [["tt.divisibility", 16]] for place in aligned}
    source = ASTSource(fn=kernel, signature=dict(signature), constexprs=dict(constants), attrs=attributes)
    return str(triton.compile(source, target=TARGET, options=dict(options)).asm["ptx"])


def instructions(text: str) -> tuple[float, float]:
    """Weighted instructions of a thread: outside the innermost loop, and in one turn of it."""
    lines = [line.partition("//")[0].strip() for line in text.splitlines()]
    labels = {line[:-1]: number for number, line in enumerate(lines) if line.endswith(":")}
    jumps = {number: match[1] for number, line in enumerate(lines) if (match := _JUMP.search(line))}
    loops = [(labels[to], number) for number, to in jumps.items() if labels.get(to, number) < number]
    first, last = min(loops, key=lambda one: one[1] - one[0], default=(0, -1))
    straight = loop = 0.0
    for number, line in enumerate(lines):
        if line.endswith(";") and not line.startswith("."):
            if first < number <= last:
                loop += weight(line)
            else:
                straight += weight(line)
    return straight, loop


def weight(line: str) -> float:
    """Places that one instruction takes."""
    memory = _MEMORY.search(line)
    if memory:
        return 4.0 * max(1.0, int(memory[1] or 1) * int(memory[2]) / 32)
    return next((places for pattern, places in WEIGHTS.items() if re.search(pattern, line)), 1.0)


def main() -> None:
    for name in fused.HOMES:
        for launch in launches(name, 3):
            straight, loop = instructions(compiled(launch))
            each = launch.programs * launch.threads / (2 * 224 * 224)
            print(
                f"{name}: {launch.name}: {straight:.0f} instructions a thread"
                + (f", {loop:.0f} a turn" if loop else "")
                + f", {each:.2f} threads a pixel"
            )


if __name__ == "__main__":
    main()
