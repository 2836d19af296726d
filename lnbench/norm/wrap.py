"""Modes on a network: a thin layer around each norm layer, same weights, switched by one attribute."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lnbench.errors import ModelError, UsageError
from lnbench.norm.grouped import normalize_by_groups, normalize_images
from lnbench.norm.layer import Stored, describe, norm_layers, replace
from lnbench.norm.localnorm import ONE_VALUE
from lnbench.norm.modes import FIXED, Mode
from lnbench.norm.stats import (
    Statistics,
    batch_statistics,
    blend,
    image_statistics,
    mean_over_groups,
    normalize,
    precise,
)

Adapted = tuple[Statistics | None, ...]
"""What each layer of a network keeps for mode `adapt`; None where the forward pass did not come by."""


class Observation(NamedTuple):
    """What a layer stored, and what it saw in one forward pass: means and biased variances (C,), float32."""

    name: str
    stored_mean: Tensor
    stored_var: Tensor
    observed_mean: Tensor
    observed_var: Tensor


@dataclass
class _Switch:
    """What all layers of one network share: the mode now in use."""

    mode: Mode = FIXED
    group: int | None = None
    recording: bool = False  # adapt: each layer takes the batch's statistics as its own
    watching: bool = False  # observe: each layer notes its input's statistics
    warned: bool = False


class NormLayer(nn.Module):
    """A norm layer under the control of a mode. In training it is the original layer and nothing else."""

    def __init__(self, name: str, layer: nn.Module, switch: _Switch) -> None:
        super().__init__()
        self.training = layer.training
        self.layer = layer
        self.name = name
        self.switch = switch
        self.adapted: Statistics | None = None
        self.recorded: list[Statistics] = []  # one for each time the forward pass comes by
        self.observed: Statistics | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the layer again: what the modes work with is float32 at least, and of the group in use."""
        self.stored: Stored = describe(self.name, self.layer)
        mean, weight, bias = self.stored.mean, self.stored.weight, self.stored.bias
        weight = precise(torch.ones_like(mean) if weight is None else weight.detach())
        bias = precise(torch.zeros_like(mean) if bias is None else bias.detach())
        self.weights, self.biases = weight.view(-1, len(mean)), bias.view(-1, len(mean))  # (K, C)
        self.statistics: Statistics = precise(mean), precise(self.stored.var)
        self.pick()

    def pick(self) -> None:
        """Take the weight and bias (C,) of the group in use; on LocalNorm layers without one, their mean."""
        group = self.switch.group if self.stored.is_local else 0
        self.weight = mean_over_groups(self.weights) if group is None else self.weights[group]
        self.bias = mean_over_groups(self.biases) if group is None else self.biases[group]

    def train(self, mode: bool = True) -> NormLayer:
        super().train(mode)
        self.refresh()  # the weights may have been trained since
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> NormLayer:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.refresh()  # moved to another device or precision
        return self

    def forward(self, x: Tensor) -> Tensor:
        mode = self.switch.mode
        if self.switch.watching:
            mean, var = batch_statistics(x)
            self.observed = mean[0], var[0]
        untouched = mode.kind == "fixed" or mode.layers == "localnorm"
        original = untouched and not self.switch.recording and not self.stored.is_local
        if self.training or original:
            return self.layer(x)  # type: ignore[no-any-return]
        y = self._normalize(x, mode)
        for module in self.stored.tail:
            y = module(y)
        return y

    def _normalize(self, x: Tensor, mode: Mode) -> Tensor:
        eps, images = self.stored.eps, x.shape[0]
        if self.switch.recording:
            mean, var = batch_statistics(x)
            self.recorded.append((mean[0], var[0]))
            return normalize(x, self.recorded[-1], self.weight, self.bias, eps)
        if mode.kind == "fixed":
            return normalize(x, self.statistics, self.weight, self.bias, eps)
        if mode.kind == "adapt":
            if self.adapted is None:
                raise RuntimeError("mode 'adapt' needs NormLayers.adapt(...) first")
            return normalize(x, self.adapted, self.weight, self.bias, eps)
        if mode.kind == "batch":
            groups = self.weights.shape[0]
            if images % groups:
                raise UsageError(
                    f"mode 'batch': {images} images cannot be cut into the {groups} groups of layer"
                    f" '{self.name}': use a --batch-size that is a multiple of {groups}"
                )
            self._warn_of_one_value(x, groups)
            return normalize_by_groups(x, self.weights, self.biases, eps)
        if mode.kind == "local":
            self._warn_of_one_value(x, images)
            return normalize_images(x, self.weight, self.bias, eps)
        if mode.scope == "image":
            statistics = blend(self.statistics, image_statistics(x), mode.N, 1)
            return normalize(x, statistics, self.weight, self.bias, eps)
        mean, var = blend(self.statistics, batch_statistics(x), mode.N, images)
        return normalize(x, (mean[0], var[0]), self.weight, self.bias, eps)

    def _warn_of_one_value(self, x: Tensor, groups: int) -> None:
        # From shapes alone: nothing waits for the device.
        if x.numel() == groups * x.shape[1] and not self.switch.warned:
            self.switch.warned = True
            warnings.warn(f"layer '{self.name}': {ONE_VALUE}", stacklevel=2)


@dataclass
class NormLayers:
    """The norm layers of one network, in its order. `groups`: K of its LocalNorm layers, else 1."""

    network: nn.Module
    layers: tuple[NormLayer, ...]
    groups: int
    switch: _Switch = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def local_names(self) -> tuple[str, ...]:
        """Those of the layers that are LocalNorm."""
        return tuple(layer.name for layer in self.layers if layer.stored.is_local)

    def __len__(self) -> int:
        return len(self.layers)

    def use(self, mode: Mode, group: int | None = None) -> None:
        """Switch every layer to `mode`; `group` picks one weight and bias of LocalNorm layers.

        Raises:
            UsageError: the mode or the argument names a group that the network does not have, or
                LocalNorm layers where it has none.
        """
        if mode.layers == "localnorm" and not self.local_names:
            raise UsageError(
                f"mode '{mode}': the network has no LocalNorm layers; make some with lnbench convert"
            )
        group = mode.group if group is None else group
        if group is not None and group >= self.groups:
            raise UsageError(
                f"mode '{mode}': there is no group {group}; the network's layers have {self.groups},"
                f" numbered from 0"
            )
        self.switch.mode = mode
        if group != self.switch.group:
            self.switch.group = group
            for layer in self.layers:
                layer.pick()

    def adapt(self, forward: Callable[[], object]) -> Adapted:
        """Run `forward` (one batch), keep each layer's batch statistics for mode `adapt` and return them.

        Each layer normalizes with them already while they are taken (Benz et al., arXiv 2010.03630), so
        the layers behind it see what they will see later. A layer that the network uses several times
        keeps the average. They stay until the next call of this or of `keep`.
        """
        self.switch.recording = True
        try:
            forward()
            for layer in self.layers:
                if layer.recorded:
                    means, variances = zip(*layer.recorded, strict=True)
                    layer.adapted = torch.stack(means).mean(0), torch.stack(variances).mean(0)
        finally:
            self.switch.recording = False
            for layer in self.layers:
                layer.recorded.clear()
        return tuple(layer.adapted for layer in self.layers)

    def keep(self, statistics: Adapted) -> None:
        """Take up what an earlier `adapt` returned."""
        for layer, adapted in zip(self.layers, statistics, strict=True):
            layer.adapted = adapted

    def observe(self, forward: Callable[[], object]) -> list[Observation]:
        """Run `forward` in mode `fixed` and return what each layer saw beside what it stored.

        Layers that the pass did not reach are left out.
        """
        mode, group = self.switch.mode, self.switch.group
        self.use(FIXED)
        self.switch.watching = True
        try:
            forward()
        finally:
            self.switch.watching = False
            self.use(mode, group)
        seen = []
        for layer in self.layers:
            if layer.observed is not None:
                stored = (values.float() for values in layer.statistics)
                seen.append(Observation(layer.name, *stored, *(values.float() for values in layer.observed)))
                layer.observed = None
        return seen

    def detach(self, *names: str) -> None:
        """Put the original layers back: those named, or all."""
        gone = [layer for layer in self.layers if not names or layer.name in names]
        replace(self.network, {id(layer): layer.layer for layer in gone})
        self.layers = tuple(layer for layer in self.layers if layer not in gone)


def attach(network: nn.Module) -> NormLayers:
    """Put a thin layer around each norm layer of a network, in place; nothing is copied or changed.

    Starts in mode `fixed`, which calls the original layers. In training mode the layers are transparent.
    A network without norm layers gives a NormLayers of length 0.

    Raises:
        ModelError: a norm layer that is not understood, LocalNorm layers with different K, or a network
            that is itself a single norm layer.
        ValueError: the network has modes already.
    """
    if any(isinstance(module, NormLayer) for module in network.modules()):
        raise ValueError("the network's norm layers have modes already: detach() the first NormLayers")
    found = list(norm_layers(network))
    if any(layer is network for _, layer in found):
        raise ModelError("the network is a single normalization layer; modes need a network around it")
    switch = _Switch()
    layers = tuple(NormLayer(name, layer, switch) for name, layer in found)
    counts = {len(layer.weights) for layer in layers if layer.stored.is_local} or {1}
    if len(counts) > 1:
        raise ModelError(f"the network's LocalNorm layers differ in their number of groups: {sorted(counts)}")
    replace(network, {id(layer.layer): layer for layer in layers})
    return NormLayers(network, layers, counts.pop(), switch)


def passes(layers: NormLayers, mode: Mode) -> tuple[int | None, ...]:
    """Name the groups to run one forward pass each for, as the second argument of `NormLayers.use`.

    (None,) but for `local` on LocalNorm networks: every group, or the one that the mode names.
    """
    if layers.groups == 1 or mode.kind != "local":
        return (None,)
    return tuple(range(layers.groups)) if mode.group is None else (mode.group,)


def combine(logits: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
    """Combine the logits (P, B, classes) of P passes into one prediction for each image.

    Returns log probabilities (B, classes) of the mean over passes of the probabilities, and the predicted
    classes (B,): the class most passes vote for (ties to the lowest class, as the authors of LocalNorm
    do), or with `vote=mean` the class of highest mean probability.
    """
    if logits.shape[0] == 1:
        return F.log_softmax(logits[0], dim=-1), logits[0].argmax(-1)
    passes, _, classes = logits.shape
    log_probs = F.log_softmax(logits, dim=-1).logsumexp(0) - math.log(passes)
    if mode.vote == "mean":
        return log_probs, log_probs.argmax(-1)
    votes = F.one_hot(logits.argmax(-1), classes).sum(0)  # (B, classes)
    # argmax may return any of several maxima; the score of a class falls with its number.
    order = torch.arange(classes, 0, -1, device=logits.device)
    return log_probs, (votes * (classes + 1) + order).argmax(-1)
