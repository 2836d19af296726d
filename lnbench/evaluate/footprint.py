"""How much memory a pass takes: the tensors that are alive at the fullest moment of a small one.

What an operator keeps to itself while it runs is not seen, nor what an allocator loses between blocks. On a
CPU a convolution rearranges what it reads and writes, which is counted as a copy of both.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lnbench.data.store import Store
from lnbench.evaluate.prepare import Subject
from lnbench.norm.gradient import Diverged
from lnbench.norm.modes.registry import Mode
from lnbench.norm.state import State

# What allocators take for each byte of tensors, without and with gradients: blocks that do not fit where
# others were. Of a CPU from runs in which modes and corruptions took turns (docs/plan.md).
OVERHEAD = {"cpu": (1.3, 1.9), "cuda": (1.4, 1.4)}
_LEAST = 2  # images for each group of LocalNorm layers, so that no statistics are those of one value


@dataclass(frozen=True)
class Footprint:
    """Bytes of a pass: those of any pass, and those of each image more; `overhead` times as much is taken."""

    once: float
    image: float
    overhead: float = 1.0

    def of(self, images: int) -> float:
        """Bytes of the tensors of a pass over so many images."""
        return self.once + self.image * images

    def taken(self, images: int) -> float:
        """Bytes that it takes of the system's memory."""
        return self.overhead * self.of(images)

    def fitting(self, room: float) -> int:
        """The most images whose pass takes at most `room` bytes; may be 0."""
        return max(0, int((room / self.overhead - self.once) / max(1.0, self.image)))


class _Watch(TorchDispatchMode):
    """Adds up the memory of tensors as operators make them, until nothing refers to it any more."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else the first operator imports torch's compiler: 140 MiB and two seconds to compile nothing.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            self._add(storage)
        if func in _REARRANGING:
            found = {
                one._cdata: one.nbytes()
                for one in _storages((args, kwargs, made))
                if one.device.type == "cpu"
            }
            self.most = max(self.most, self._now + sum(found.values()))
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def gone(_: object) -> None:
            del self._alive[key]
            self._now -= size

        self._alive[key] = weakref.ref(storage, gone)
        self._now += size
        self.most = max(self.most, self._now)


_REARRANGING = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)


def _storages(values: object) -> list[torch.UntypedStorage]:
    leaves = tree_leaves(values)
    return [
        each.untyped_storage() for each in leaves if isinstance(each, Tensor) and each.layout == torch.strided
    ]


def most_alive(work: Callable[[], object]) -> int:
    """Bytes of the tensors made inside `work` that were alive at the same time, with convolutions' copies."""
    with _Watch() as watch:
        work()
    found: int = watch.most
    return found


@torch.no_grad()
def footprint(subject: Subject, mode: Mode, store: Store) -> Footprint | None:
    """What a pass of a mode takes, with its gradients, from two small ones; None where they do not tell."""
    groups = subject.layers.groups
    few, more = (
        most_alive(lambda: _predict(subject, mode, store, count))  # noqa: B023 – called at once
        for count in (_LEAST * groups, 2 * _LEAST * groups)
    )
    image = (more - few) / (_LEAST * groups)
    overhead = OVERHEAD[subject.classifier.device.type][mode.is_learning]
    return Footprint(max(0.0, few - image * _LEAST * groups), image, overhead) if image > 0 else None


def _predict(subject: Subject, mode: Mode, store: Store, count: int) -> None:
    """One pass over `count` images, some of them several times where there are fewer."""
    places = np.arange(count) % len(store.labels)
    pixels = torch.from_numpy(store.images[places]).to(subject.classifier.device)
    state = State()

    def forward(images: Tensor) -> Tensor:
        subject.layers.use(mode, state)
        return subject.classifier.logits(images)

    try:
        mode.begin(forward, lambda wanted, number: pixels[:wanted], state)
        if mode.draws > 1:
            state.draw = torch.zeros(count, dtype=torch.int64, device=pixels.device)
        mode.predict(forward, pixels, state, subject.layers.groups)
    except Diverged:
        return
