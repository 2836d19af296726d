"""A person's code that ends the program ends it as an error: nothing came of what was asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lnbench
from lnbench.errors import LnbenchError, ModelError

QUICK: dict[str, Any] = {"corruptions": ["clean"], "modes": "fixed", "progress": False, "device": "cpu"}
ARRAYS = (np.zeros((8, 32, 32, 3), np.uint8), np.arange(8) % 3)


class Leaving(Dataset):  # type: ignore[type-arg]
    """Ends the program at one image; with `targets`, those before it are read when they are counted."""

    def __init__(self, *, targets: bool) -> None:
        if targets:
            self.targets = [0, 1, 2, 0, 1, 2, 0, 1]

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == 5:
            sys.exit(0)
        return torch.zeros(3, 32, 32), index % 3


class Network(nn.Module):
    def __init__(self, passes: int) -> None:
        super().__init__()
        self.left, self.norm = passes, nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise SystemExit
        return self.norm(x).mean((2, 3))


def place(text: str) -> str:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return f"{Path(__file__).name}, line {next(n for n, line in enumerate(lines, 1) if text in line)}"


@pytest.mark.parametrize(
    "data",
    [Leaving(targets=False), Leaving(targets=True), DataLoader(Leaving(targets=False), batch_size=2)],
    ids=["dataset", "targets", "loader"],
)
def test_data(data: Any) -> None:
    with pytest.raises(LnbenchError) as told:
        lnbench.evaluate(Network(1000), data, **QUICK)
    assert str(told.value).endswith(f"{place('sys.exit(0)')} raised SystemExit: 0")


@pytest.mark.parametrize("passes", [0, 1])
def test_a_forward(passes: int) -> None:
    with pytest.raises(ModelError) as told:
        lnbench.evaluate(Network(passes), ARRAYS, **QUICK)
    assert f"{place('raise SystemExit')}: forward of Network raised SystemExit" in str(told.value)
