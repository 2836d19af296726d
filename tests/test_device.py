"""The stand-in for a device finds planted faults; what lnbench computes keeps to a device's rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lnbench.corruptions import native, registry
from lnbench.corruptions.rng import Key
from tests.device import Device, Mixed, OnDevice, fresh_tables

BUDGET = Path(__file__).parent / "baselines" / "device_budget.json"
SIDES = {"cifar": 32, "tiny-imagenet": 64, "imagenet": 224}

WAITS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "item": lambda x, c: x.sum().item(),
    "if": lambda x, c: bool(x.any()),
    "tolist": lambda x, c: x.tolist(),
    "nonzero": lambda x, c: x.nonzero(),
    "mask": lambda x, c: x[x > 0],
    "to the host": lambda x, c: x.cpu(),
    "pageable": lambda x, c: c.to("cuda", non_blocking=True),
    "blocking": lambda x, c: c.pin_memory().to("cuda"),
    "from numbers": lambda x, c: torch.tensor([1.0, 2.0], device="cuda"),
    "unique": lambda x, c: x.unique(),
    "equal": lambda x, c: torch.equal(x, x),
}
MIXED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "add": lambda x, c: x + c,
    "cat": lambda x, c: torch.cat([x, c]),
    "index": lambda x, c: x.index_select(0, torch.tensor([0])),
    "product": lambda x, c: torch.mm(x[None], c[:, None]),
    "where": lambda x, c: torch.where(x > 0, c, x),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_noticed(name: str) -> None:
    on_cpu = torch.arange(4.0)
    with Device() as gpu:
        x = on_cpu.to("cuda")
        gpu.clear()
        WAITS[name](x, on_cpu)
        assert gpu.waits


@pytest.mark.parametrize("name", MIXED)
def test_mixed_operands_raise(name: str) -> None:
    on_cpu = torch.arange(4.0)
    with Device(), pytest.raises(Mixed):
        MIXED[name](on_cpu.to("cuda"), on_cpu)


def test_what_a_device_takes_passes_in_silence() -> None:
    on_cpu = torch.arange(4.0)
    with Device() as gpu:
        x = on_cpu.pin_memory().to("cuda", non_blocking=True)
        y = (x * 2 + torch.tensor(1.0)).clamp_(0, 3).view(2, 2).sum(1)
        z = torch.zeros(3, device="cuda").add_(1)
        assert y.is_cuda and z.is_cuda and not gpu.waits and gpu.launches == 6
        assert y.cpu().tolist() == [4.0, 6.0]


def test_a_number_divides_as_on_cuda() -> None:
    levels = torch.arange(256.0)
    with Device(rounding="cuda"):
        made = (levels.to("cuda") / 255).cpu()
    assert torch.equal(made, levels * (torch.ones(()) / 255))
    assert not torch.equal(made, levels / 255)


def photographs(count: int, side: int) -> Tensor:
    """Smooth, noisy and blocky pictures, uint8 (B, 3, S, S)."""
    draws = torch.Generator().manual_seed(side)
    coarse = torch.randint(0, 256, (count, 3, side // 8, side // 8), generator=draws, dtype=torch.uint8)
    blocks = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    noise = torch.randint(-20, 20, blocks.shape, generator=draws)
    smooth = torch.nn.functional.interpolate(coarse.float(), (side, side), mode="bilinear")
    whole = torch.cat([blocks[: count // 2], smooth[count // 2 :]]) + noise * (torch.arange(count) % 2).view(
        -1, 1, 1, 1
    )
    return whole.clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("table", SIDES)
@pytest.mark.parametrize("name", registry.names())
def test_a_corruption_is_the_same_on_the_device_and_never_waits(name: str, table: str) -> None:
    pixels, ids = photographs(2, SIDES[table]), torch.arange(7, 9)
    for severity in (1, 3, 5):
        parameters = registry.parameters(table, name, severity)
        with torch.no_grad(), fresh_tables():
            here = native.corrupt(pixels, name, severity, Key(1, ids), parameters)
        with torch.no_grad(), fresh_tables(), Device(rounding="cuda") as gpu:
            moved, key = pixels.to("cuda"), Key(1, ids.to("cuda"))
            native.corrupt(moved, name, severity, key, parameters)  # tables are made and moved
            gpu.clear()
            there = native.corrupt(moved, name, severity, key, parameters)
            assert isinstance(there, OnDevice)
            assert not gpu.waits, gpu.waits
        apart = (here.int() - there.values.int()).abs()
        # The contract: one grey level at most, in at most one pixel of 10,000; here only divisions round
        # otherwise, and those are written so that they do not.
        assert int(apart.max()) <= 1
        assert float(apart.gt(0).float().mean()) <= 1e-4, f"severity {severity}"


def cost(name: str) -> dict[str, float]:
    """The most launches, and megabytes of operands an image, at 224 px; a gather counts its whole source."""
    pixels, ids = photographs(2, 224), torch.arange(7, 9)
    launches, moved = 0, 0.0
    for severity in (1, 3, 5):
        parameters = registry.parameters("imagenet", name, severity)
        with torch.no_grad(), fresh_tables(), Device() as gpu:
            on_device, key = pixels.to("cuda"), Key(1, ids.to("cuda"))
            native.corrupt(on_device, name, severity, key, parameters)
            gpu.clear()
            native.corrupt(on_device, name, severity, key, parameters)
        launches, moved = max(launches, gpu.launches), max(moved, gpu.bytes / len(pixels) / 1e6)
    return {"launches": launches, "megabytes": round(moved, 2)}


@pytest.mark.parametrize("name", registry.names())
def test_a_corruption_keeps_to_its_budget(name: str) -> None:
    """What launches or moves more than before fails; `python -m tests.test_device` writes the budget anew."""
    budget = json.loads(BUDGET.read_text(encoding="utf-8"))
    assert name in budget, "a new corruption: python -m tests.test_device"
    found = cost(name)
    assert found["launches"] <= budget[name]["launches"]
    assert found["megabytes"] <= 1.01 * budget[name]["megabytes"]


if __name__ == "__main__":
    rows = (f" {json.dumps(name)}: {json.dumps(cost(name))}" for name in registry.names())
    BUDGET.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
