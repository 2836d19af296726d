"""Training for as long as a converted network needs: SGD, cosine schedule, flips and padded crops.

Everything random in an epoch follows from (seed, epoch) alone, so a training that was killed goes on
from its last finished epoch and ends with the weights of an undisturbed one on the same machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from lnbench.device import current
from lnbench.dist import ALONE, Processes
from lnbench.errors import CheckpointError, LnbenchError
from lnbench.models import checkpoint
from lnbench.norm import wrap
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.registry import Mode, parse
from lnbench.norm.state import State
from lnbench.training.batches import Batches, epoch_seed
from lnbench.training.recipe import Recipe, check, cuts, rate
from lnbench.types import InputNormalization

_REPORT_EVERY = 50  # steps
_CHUNK = 250  # images of one held-out forward


@dataclass(frozen=True)
class Standing:
    """Where a training stands. `held_out` (mode → accuracy, 0–1) is given at the end of an epoch only."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    held_out: dict[str, float] | None = None


Report = Callable[[Standing], None]


class Lesson(NamedTuple):
    """What a step teaches. `ready` puts the network into the state it is trained in.

    `loss`: logits (B, classes), normalized pixels (B, 3, H, W), labels (B,) → the mean loss of the images.
    `measures`: the modes to measure on images held out; None for those of `measure`. `single`: whether every
    statistic is of one image.
    """

    ready: Callable[[nn.Module], object]
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    measures: tuple[str, ...] | None = None
    single: bool = False


LABELS = Lesson(nn.Module.train, lambda logits, pixels, labels: F.cross_entropy(logits, labels))


def train(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    normalization: InputNormalization,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    origin: str = "",
    report: Report = lambda standing: None,
    processes: Processes = ALONE,
    lesson: Lesson = LABELS,
) -> list[Standing]:
    """Train a network in place and leave it in evaluation mode on the CPU.

    Args:
        network: with BatchNorm or LocalNorm layers, or none.
        images: uint8 (N, 3, H, W), 0–255; labels: int64 (N,).
        held_out: images and labels to measure after each epoch, never trained on.
        state: file that keeps the last finished epoch; if it exists, training goes on from there.
        processes: those that share every batch, from `dist.joined`.
        origin: what is trained on what, in words or digests; `state` of another origin is refused.
        lesson: what is taught; the labels otherwise.

    Returns where the training stood at each epoch's end.

    Raises:
        UsageError: a recipe that does not fit the network; DataError: fewer images than a batch;
        CheckpointError: `state` belongs to another training; LnbenchError: the loss is not finite.
    """
    rank, world = processes.rank, processes.world
    groups = _groups(network)
    check(recipe, groups, len(images), world)
    device = torch.device(device)
    layout = _layout(groups, lesson)
    network.to(device).to(memory_format=layout)
    optimizer, scaling = _optimizer(network, recipe), _Scaling(device, recipe.amp)
    history = [] if state is None else _resume(state, network, optimizer, scaling, recipe, origin)
    trained = _shared(_Regrouped(network), device, world)
    batches = Batches(images, labels, normalization, device, layout)
    steps = len(images) // recipe.batch_size
    pad = images.shape[-1] // 8 if recipe.pad is None else recipe.pad
    for epoch in range(len(history), recipe.epochs):
        lesson.ready(network)
        total = torch.zeros((), device=device)
        with _seeded(recipe.seed, epoch, device):
            parts = batches.epoch(
                recipe.batch_size, recipe.seed, epoch, flip=recipe.flip, pad=pad, rank=rank, world=world
            )
            for step, (pixels, targets) in enumerate(parts):
                done = epoch * steps + step
                _set_rate(optimizer, rate(recipe, done, recipe.epochs * steps))
                into = 1 if groups is None else cuts(recipe, done, groups, len(pixels))
                with scaling.autocast():
                    loss = lesson.loss(trained(pixels, into), pixels, targets)
                scaling.step(loss, optimizer)
                total += loss.detach()
                if (step + 1) % _REPORT_EVERY == 0:
                    report(Standing(epoch, recipe.epochs, step + 1, steps, float(total / (step + 1))))
        mean = _finite(float(total / steps), epoch)
        asked = lesson.measures
        found = None if held_out is None else measure(network, *held_out, normalization, device, asked)
        history.append(Standing(epoch, recipe.epochs, steps, steps, mean, found))
        if state is not None and rank == 0:
            _save(state, network, optimizer, scaling, recipe, history, origin)
        report(history[-1])
    network.eval().to("cpu").to(memory_format=torch.contiguous_format)
    return history


@torch.inference_mode()
def measure(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    normalization: InputNormalization,
    device: torch.device | str = "cpu",
    asked: Sequence[str] | None = None,
) -> dict[str, float]:
    """Top-1 accuracy (0–1) by mode: `fixed` of a BatchNorm network, `local` and `batch` of a LocalNorm one.

    Or in the modes that are `asked` for.

    Changes no weight and no buffer; the network keeps its training or evaluation mode.
    """
    device, training = torch.device(device), network.training
    network.eval()
    layers = wrap.attach(network)
    batches = Batches(images, labels, normalization, device, torch.contiguous_format)
    single = "local" if layers.names == layers.local_names else "local:layers=localnorm"
    modes = [parse(name) for name in asked or ((single, "batch") if layers.local_names else ("fixed",))]
    accuracy = {str(mode): _right(network, layers, mode, batches) / len(images) for mode in modes}
    layers.detach()
    network.train(training)
    return accuracy


def _right(network: nn.Module, layers: wrap.NormLayers, mode: Mode, batches: Batches) -> int:
    """How many images the network gets right in a mode."""
    correct = torch.zeros((), dtype=torch.int64, device=batches.device)
    for pixels, targets in batches.in_order(_CHUNK - _CHUNK % layers.groups or layers.groups):
        count = len(pixels)
        # A short last chunk is completed from its own start to a multiple of K.
        whole = pixels[torch.arange(count + -count % layers.groups, device=pixels.device) % count]
        state = State()
        layers.use(mode, state)
        _, predicted = mode.predict(lambda x: network(x).float(), whole, state, layers.groups)
        correct += (predicted[:count] == targets).sum()
    return int(correct)


class _Regrouped(nn.Module):
    """The network with every LocalNorm group cut into `cuts` smaller ones that share its weight and bias."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        modules = network.named_modules()
        self.local = {name: layer for name, layer in modules if isinstance(layer, LocalNorm2d)}

    def forward(self, x: Tensor, cuts: int) -> Tensor:
        if cuts == 1:
            return self.network(x)  # type: ignore[no-any-return]
        # Image i falls into group i mod (cuts·K), whose weight is that of group i mod K.
        finer = {}
        for name, layer in self.local.items():
            finer[f"{name}.weight"] = layer.weight.repeat(cuts, 1)  # (cuts·K, C)
            finer[f"{name}.bias"] = layer.bias.repeat(cuts, 1)
            layer.groups *= cuts
        try:
            return functional_call(self.network, finer, (x,))  # type: ignore[no-any-return]
        finally:
            for layer in self.local.values():
                layer.groups //= cuts


def _layout(groups: int | None, lesson: Lesson) -> torch.memory_format:
    """Channels-last is faster, but the groups of LocalNorm are a view of contiguous channels."""
    return torch.channels_last if groups is None or lesson.single else torch.contiguous_format


def _shared(network: nn.Module, device: torch.device, world: int) -> nn.Module:
    """The network as one of `world` processes trains it: their gradients are averaged."""
    if world == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def _set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; only the weights of convolutions and linear layers decay."""
    decayed = {
        id(layer.weight)
        for layer in network.modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if id(p) in decayed], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)


def _groups(network: nn.Module) -> int | None:
    """K of a LocalNorm network, None for any other."""
    return next((layer.groups for layer in network.modules() if isinstance(layer, LocalNorm2d)), None)


class _Scaling:
    """Mixed precision: bfloat16, or float16 with a scaled loss on a GPU that lacks it."""

    def __init__(self, device: torch.device, amp: bool | None) -> None:
        self.device = device
        self.on = device.type == "cuda" if amp is None else amp
        with current(device):
            half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self.dtype = torch.float16 if half else torch.bfloat16
        self.scaler = torch.amp.GradScaler(enabled=self.on and half)

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self.dtype, enabled=self.on)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """The global generators (dropout draws from them) follow the epoch inside, and are put back after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(epoch_seed(seed, epoch))
        yield


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise LnbenchError(f"the loss became {loss} in epoch {epoch + 1}: use a smaller --lr")
    return loss


def _save(
    state: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaling: _Scaling,
    recipe: Recipe,
    history: list[Standing],
    origin: str,
) -> None:
    extras = {
        "optimizer": optimizer.state_dict(),
        "scaler": scaling.scaler.state_dict(),
        "recipe": asdict(recipe),
        "origin": origin,
        "history": [asdict(standing) for standing in history],
    }
    checkpoint.write(state, network.state_dict(), extras=extras, metadata={})


def _resume(
    state: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaling: _Scaling,
    recipe: Recipe,
    origin: str,
) -> list[Standing]:
    """Take up a training from the file of its last finished epoch; without the file, start."""
    if not state.exists():
        return []
    saved = checkpoint.read(state)
    extras: dict[str, Any] = dict(saved.extras)
    if (extras.get("recipe"), extras.get("origin")) != (asdict(recipe), origin):
        raise CheckpointError(f"{state} belongs to a training with other settings: delete it or repeat them")
    checkpoint.fit(network, saved)
    optimizer.load_state_dict(extras["optimizer"])
    scaling.scaler.load_state_dict(extras["scaler"])
    return [Standing(**entry) for entry in extras["history"]]
