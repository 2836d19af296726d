"""What training is tried on: a small network, striped images, a quick recipe; alone or in two processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lnbench import dist
from lnbench.norm.convert import convert_localnorm
from lnbench.training.finetune import Standing, train
from lnbench.training.recipe import Recipe
from lnbench.types import InputNormalization
from tests.processes import call_world

NORMALIZATION = InputNormalization()
QUICK = Recipe(epochs=3, lr=0.05, batch_size=16, pad=1)


def network(groups: int | None = None, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, classes),
    )  # fmt: skip
    return layers if groups is None else convert_localnorm(layers, groups=groups)


def stripes(count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images of class k have stripes of period 2 + k, at random places, in random colours."""
    draws = np.random.default_rng(0)
    labels = np.arange(count) % classes
    columns = np.arange(12) + draws.integers(0, 12, (count, 1))
    waves = (columns // (1 + labels[:, None])) % 2  # (count, 12)
    images = waves[:, None, None, :] * draws.integers(60, 200, (count, 3, 1, 1)) + draws.integers(
        0, 50, (count, 3, 12, 12)
    )
    return images.astype(np.uint8), labels


def fit(net: nn.Module, recipe: Recipe = QUICK, count: int = 96, **options: object) -> list[Standing]:
    return train(net, *stripes(count), recipe, normalization=NORMALIZATION, **options)  # type: ignore[arg-type]


def weights(net: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])


def trained_by_two(trains: Callable[[dist.Processes], nn.Module], folder: Path) -> dict[str, Tensor]:
    """The state dict of the network that two processes train together; `trains` is a function of a module."""
    out = folder / "weights.pth"
    ended = call_world([partial(_save, trains, out)] * 2, folder)
    assert [one.code for one in ended] == [0, 0], "".join(one.err for one in ended)
    return torch.load(out, weights_only=True)  # type: ignore[no-any-return]


def _save(trains: Callable[[dist.Processes], nn.Module], out: Path) -> None:
    with dist.joined() as processes:
        net = trains(processes)
        assert processes.world == 2
        if processes.first:
            torch.save(net.state_dict(), out)
