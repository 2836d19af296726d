"""Float64 numbers for a kernel, whose own arguments are float32."""

from __future__ import annotations

from functools import lru_cache

from lnbench.lazy import torch


@lru_cache(maxsize=32)
def doubles(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Float64 (n,) on the device, brought there once."""
    return torch.tensor(numbers, dtype=torch.float64).to(device)
