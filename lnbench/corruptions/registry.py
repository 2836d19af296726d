"""The registry of native corruption kernels: a dict and a decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from lnbench.corruptions.rng import Key
from lnbench.errors import unknown

Kernel: TypeAlias = Callable[[torch.Tensor, tuple[float, ...], Key], torch.Tensor]
"""kernel(pixels uint8 (B, 3, H, W), parameters of the table, key) -> uint8 (B, 3, H, W)."""

KERNELS: dict[str, Kernel] = {}

Group: TypeAlias = int | Callable[[tuple[float, ...]], int]
"""Elements (B·3·H·W) a kernel works on at a time on one CPU core, or what tells them from its parameters."""

GROUP: dict[str, Group] = {}


def register(name: str, group: Group = 160_000) -> Callable[[Kernel], Kernel]:
    """Enter the decorated kernel under `name`. Raises ValueError if the name is taken.

    The default group keeps a few float planes of its images in a second-level cache of 1 MiB.
    """

    def enter(kernel: Kernel) -> Kernel:
        if name in KERNELS:
            raise ValueError(f"corruption '{name}' is registered twice")
        KERNELS[name] = kernel
        GROUP[name] = group
        return kernel

    return enter


def find(name: str) -> Kernel:
    """Return the kernel of `name`. Raises UsageError naming near ones."""
    if name not in KERNELS:
        raise unknown("corruption", name, KERNELS)
    return KERNELS[name]
