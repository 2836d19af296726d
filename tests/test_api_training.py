"""`evaluate` in the midst of a training: as a callback, and in one of several processes or in each."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from docs.make_api import TOUR

ROOT = Path(__file__).parents[1]
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


SCRIPT = """
import os, sys
import torch
from torch import distributed, nn
import lnbench
from lnbench.data.demo import open_demo
from lnbench.models.load import load

distributed.init_process_group("gloo")
rank = distributed.get_rank()
network = nn.parallel.DistributedDataParallel(load("demo").network)
images, labels, _ = open_demo("test")
options = dict(corruptions=["contrast"], severities=[5], modes=["fixed", "batch"], device="cpu")
stored = load("demo").normalization
options |= dict(mean=stored.mean, std=stored.std, progress=False)
each = lnbench.evaluate(network, (images[::10], labels[::10]), **options)
if rank == 0:  # nobody waits for the others
    one = lnbench.evaluate(network, (images[::10], labels[::10]), **options, out=sys.argv[1])
    assert not lnbench.compare(each, one).changes["difference"].any()
# The group is the caller's own still.
found = [None, None]
distributed.all_gather_object(found, [cell.correct for cell in each.content.cells])
assert found[0] == found[1] and len(found[0]) == 4
network(torch.zeros(4, 3, 64, 64)).sum().backward()
distributed.destroy_process_group()
print("well")
"""


def test_each_of_several_processes_evaluates_by_itself(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [text.strip().splitlines()[-1] for text in said] == ["well", "well"], said
    assert (tmp_path / "run" / "results.json").is_file()
