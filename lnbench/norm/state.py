"""What a mode sees of a norm layer (Layer), and what it may keep of a condition (State)."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lnbench.errors import UsageError
from lnbench.norm.grouped import normalize_by_groups, normalize_images
from lnbench.norm.layer import describe
from lnbench.norm.localnorm import ONE_VALUE
from lnbench.norm.stats import Statistics, mean_over_groups, normalize, precise


@dataclass
class State:
    """What a mode keeps for one network under one condition; it dies with it.

    `statistics`: mean and variance (C,) by layer. `affine`: weight and bias by layer, in place of the
    network's own, which never change: (K, C), or the layer's own shape where it stores no statistics.
    `group`: which weight and bias of LocalNorm layers, None for their mean. `draw`: which of the mode's draws
    answers for each image at hand, int64 (B,); None where it has one. `extra`: whatever else a mode needs to
    remember. `counts`: what it counted on the way, by name: numbers, or tensors without axes.
    """

    statistics: dict[str, Statistics] = field(default_factory=dict)
    affine: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    group: int | None = None
    draw: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    counts: defaultdict[str, Any] = field(default_factory=lambda: defaultdict(int))


def leaf(values: Tensor) -> Tensor:
    """A copy, float32 at least, that takes a gradient."""
    return precise(values.detach()).clone().requires_grad_()


class Layer:
    """A norm layer as the modes know it; every method gives the layer's output (B, C, ...) for its input.

    `statistics`: the stored mean and variance (C,); `weights`, `biases`: (K, C), K = 1 but on LocalNorm
    layers; all float32 at least, whatever the network's precision. `said`: warnings already given, shared by
    the layers of a network.
    """

    def __init__(self, name: str, module: nn.Module, said: set[str]) -> None:
        stored = describe(name, module)
        weight = precise(torch.ones_like(stored.mean) if stored.weight is None else stored.weight.detach())
        bias = precise(torch.zeros_like(stored.mean) if stored.bias is None else stored.bias.detach())
        self.name, self.eps, self.is_local = name, stored.eps, stored.is_local
        self.statistics: Statistics = precise(stored.mean), precise(stored.var)
        self.weights, self.biases = weight.view(-1, len(stored.mean)), bias.view(-1, len(stored.mean))
        self._mean = mean_over_groups(self.weights), mean_over_groups(self.biases)
        self._module, self._tail = module, stored.tail
        self._said = said

    @property
    def groups(self) -> int:
        """K of a LocalNorm layer, else 1."""
        return self.weights.shape[0]

    def affine(self, state: State) -> tuple[Tensor, Tensor]:
        """Weight and bias (C,): of the group in use, or their mean over the groups."""
        group = state.group if self.is_local else None
        if self.name not in state.affine:
            return self._mean if group is None else (self.weights[group], self.biases[group])
        weights, biases = state.affine[self.name]
        if group is None:
            return mean_over_groups(weights), mean_over_groups(biases)
        return weights[group], biases[group]

    def learn(self, state: State) -> None:
        """Put copies of weights and biases that take a gradient into the state, where there are none yet."""
        if self.name not in state.affine:
            state.affine[self.name] = leaf(self.weights), leaf(self.biases)

    def stored(self, x: Tensor, state: State) -> Tensor:
        """By the stored statistics: what the untouched layer computes, on LocalNorm what BatchNorm would."""
        if self.is_local or self.name in state.affine:
            return self.normalize(x, self.statistics, state)
        return self._module(x)  # type: ignore[no-any-return]

    def normalize(self, x: Tensor, statistics: Statistics, state: State) -> Tensor:
        """By a mean and variance, each (C,) or, one for each image, (B, C)."""
        return self._finish(normalize(x, statistics, *self.affine(state), self.eps))

    def normalize_images(self, x: Tensor, state: State) -> Tensor:
        """Each image by its own statistics over its pixels."""
        # Asked of the pixels alone: an export may leave the number of images open.
        self._warn_of_one_value(math.prod(x.shape[2:]) == 1)
        return self._finish(normalize_images(x, *self.affine(state), self.eps))

    def normalize_batch(self, x: Tensor, state: State) -> Tensor:
        """Each of K groups of a batch by its own statistics, weight and bias; image i is in group i mod K.

        Raises UsageError for a number of images that is no multiple of K.
        """
        if x.shape[0] % self.groups:
            raise UsageError(
                f"{x.shape[0]} images cannot be cut into the {self.groups} groups of layer"
                f" '{self.name}': use a --batch-size that is a multiple of {self.groups}"
            )
        self._warn_of_one_value(x.numel() == self.groups * x.shape[1])
        weights, biases = state.affine.get(self.name, (self.weights, self.biases))
        return self._finish(normalize_by_groups(x, weights, biases, self.eps))

    def _finish(self, y: Tensor) -> Tensor:
        """What some layers do to the normalized result (timm: dropout, activation)."""
        for module in self._tail:
            y = module(y)
        return y

    def _warn_of_one_value(self, found: bool) -> None:
        # Found from shapes alone: nothing waits for the device.
        if found and ONE_VALUE not in self._said:
            self._said.add(ONE_VALUE)
            warnings.warn(f"layer '{self.name}': {ONE_VALUE}", stacklevel=2)
