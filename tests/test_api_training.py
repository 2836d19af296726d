"""`evaluate` in the midst of a training: as a callback, and in one of several processes or in each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional as F

import lnbench
from docs.make_api import TOUR
from lnbench.data.demo import open_demo
from lnbench.models.load import load
from tests.processes import call_world

Hook = Callable[["Trainer", nn.Module], None]


class Module(nn.Module):
    """A network and what a trainer's module has: a step, an optimizer and a place for figures."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.logged: list[tuple[str, float]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def training_step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert all(module.training for module in self.modules())
        return F.cross_entropy(self(x), y)

    def log(self, name: str, value: float) -> None:
        self.logged.append((name, value))


class Trainer:
    """The protocol of Lightning's: steps in training mode, hooks of (trainer, module) where an epoch ends."""

    def __init__(self, epochs: int, on_train_epoch_end: list[Hook]) -> None:
        self.epochs, self.hooks = epochs, on_train_epoch_end

    def fit(self, module: Module, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        module.train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
        for _ in range(self.epochs):
            for x, y in batches:
                optimizer.zero_grad()
                module.training_step(F.dropout(x, 0.1), y).backward()
                optimizer.step()
            for hook in self.hooks:
                hook(self, module)


def blocks() -> list[str]:
    """The blocks of the tour, in order."""
    return [part.split("```")[0] for part in TOUR.read_text(encoding="utf-8").split("```python\n")[1:]]


def test_the_documented_callback_logs_each_epoch_and_leaves_the_training_as_it_was() -> None:
    space: dict[str, Any] = {}
    for block in (blocks()[0], "import lnbench", next(b for b in blocks() if "module.log" in b)):
        exec(compile(block, TOUR.name, "exec"), space)
    batches = list(zip(space["inputs"].split(16), space["targets"].split(16), strict=True))
    trained = []
    for hooks in ([], [space["robustness"]]):
        torch.manual_seed(0)
        module = Module(copy.deepcopy(space["model"]))
        Trainer(2, hooks).fit(module, batches)
        trained.append(module)
    plain, watched = trained
    assert all(module.training for module in watched.modules())
    for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert [name for name, _ in watched.logged] == ["robust", "robust"]
    assert all(0.5 < value <= 1 for _, value in watched.logged)


def _evaluate_in_each(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank, loaded = distributed.get_rank(), load("demo")
    network = nn.parallel.DistributedDataParallel(loaded.network)
    images, labels, _ = open_demo("test")
    data = images[::10], labels[::10]
    options: dict[str, Any] = {
        "corruptions": ["contrast"], "severities": [5], "modes": ["fixed", "batch"], "device": "cpu",
        "mean": loaded.normalization.mean, "std": loaded.normalization.std, "progress": False,
    }  # fmt: skip
    each = lnbench.evaluate(network, data, **options)
    if rank == 0:  # nobody waits for the others
        one = lnbench.evaluate(network, data, **options, out=folder)
        assert not lnbench.compare(each, one).changes["difference"].any()
    # The group is the caller's own still.
    found: list[Any] = [None, None]
    distributed.all_gather_object(found, [cell.correct for cell in each.content.cells])
    assert found[0] == found[1] and len(found[0]) == 4
    network(torch.zeros(4, 3, 64, 64)).sum().backward()
    distributed.destroy_process_group()


def test_each_of_several_processes_evaluates_by_itself(tmp_path: Path) -> None:
    ended = call_world([partial(_evaluate_in_each, tmp_path / "run")] * 2, tmp_path)
    assert [one.code for one in ended] == [0, 0], "".join(one.err for one in ended)
    assert (tmp_path / "run" / "results.json").is_file()
