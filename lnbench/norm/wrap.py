"""Modes on a network: a thin layer around each norm layer, same weights, switched by one attribute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from lnbench.errors import ModelError
from lnbench.norm.layer import norm_layers, replace
from lnbench.norm.modes.registry import Mode, Setting, make
from lnbench.norm.own import OwnLayer, own_layers
from lnbench.norm.selection import select
from lnbench.norm.state import Layer, State
from lnbench.norm.stats import Statistics, batch_statistics

FIXED = make("fixed")


class Observation(NamedTuple):
    """What a layer stored, and what it saw in one forward pass: means and biased variances (C,), float32."""

    name: str
    stored_mean: Tensor
    stored_var: Tensor
    observed_mean: Tensor
    observed_var: Tensor


@dataclass
class Switch:
    """What all layers of one network share: the mode in use, its layers and its state."""

    mode: Mode = FIXED
    normalize: Callable[[Tensor, Layer, State], Tensor] = FIXED.normalize
    state: State = field(default_factory=State)
    layers: frozenset[str] = frozenset()
    learned: frozenset[str] = frozenset()
    seen: dict[str, Statistics] | None = None  # while observing: what each layer's input is like
    said: set[str] = field(default_factory=set)


class NormLayer(nn.Module):
    """A norm layer under the control of a mode. In training it is the original layer and nothing else."""

    def __init__(self, name: str, layer: nn.Module, switch: Switch) -> None:
        super().__init__()
        self.training = layer.training
        self.layer = layer
        self.name = name
        self.switch = switch
        self.refresh()

    def __getattr__(self, name: str) -> Any:
        """What a forward asks of the layer itself (`bn.running_mean`, `bn.weight`) is the layer's own."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            layer = self.__dict__.get("_modules", {}).get("layer")
            if layer is None:
                raise
            return getattr(layer, name)

    def refresh(self) -> None:
        """Read the layer again: what the modes work with is float32 at least."""
        self.known = Layer(self.name, self.layer, self.switch.said)

    def train(self, mode: bool = True) -> NormLayer:
        super().train(mode)
        self.refresh()  # the weights may have been trained since
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> NormLayer:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.refresh()  # moved to another device or precision
        return self

    def forward(self, x: Tensor) -> Tensor:
        switch = self.switch
        if switch.seen is not None:
            mean, var = batch_statistics(x)
            switch.seen[self.name] = mean[0], var[0]
        if self.training:
            return self.layer(x)  # type: ignore[no-any-return]
        if self.name in switch.learned:
            self.known.learn(switch.state)
        if self.name in switch.layers:
            return switch.normalize(x, self.known, switch.state)
        return self.known.stored(x, switch.state)


@dataclass
class NormLayers:
    """The norm layers of one network, in its order. `groups`: K of its LocalNorm layers, else 1.

    `own`: those without stored statistics, where modes that learn were to find them.
    """

    network: nn.Module
    layers: tuple[NormLayer, ...]
    groups: int
    switch: Switch = field(repr=False)
    own: tuple[OwnLayer, ...] = ()
    _selected: dict[Mode, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def all_names(self) -> tuple[str, ...]:
        """Those with and without stored statistics, in the network's order."""
        kinds = NormLayer | OwnLayer
        return tuple(module.name for module in self.network.modules() if isinstance(module, kinds))

    @property
    def local_names(self) -> tuple[str, ...]:
        """Those of the layers that are LocalNorm."""
        return tuple(layer.name for layer in self.layers if layer.known.is_local)

    def __len__(self) -> int:
        return len(self.layers)

    def use(self, mode: Mode, state: State | None = None) -> None:
        """Switch the layers that `mode` names to it, with what it keeps; the others to `fixed`.

        Raises UsageError when it names layers that the network does not have.
        """
        if mode not in self._selected:
            names = self.all_names if mode.is_learning else self.names
            chosen = select(mode.layers, names, self.local_names, str(mode))
            self._selected[mode] = chosen, frozenset(name for name in chosen if mode.learns(name))
        self.switch.mode, self.switch.normalize = mode, mode.normalize
        self.switch.layers, self.switch.learned = self._selected[mode]
        self.switch.state = state or State()

    def setting(self, batch_size: int, images: int) -> Setting:
        """What a mode may ask of a run of this network."""
        own = tuple(layer.name for layer in self.own)
        return Setting(self.names, self.local_names, self.groups, batch_size, images, own)

    def observe(self, forward: Callable[[], object]) -> list[Observation]:
        """Run `forward` in mode `fixed` and return what each layer saw beside what it stored.

        Layers that the pass did not reach are left out.
        """
        before = self.switch.mode, self.switch.state
        self.use(FIXED)
        seen = self.switch.seen = {}
        try:
            forward()
        finally:
            self.switch.seen = None
            self.use(*before)
        found = {layer.name: layer.known.statistics for layer in self.layers if layer.name in seen}
        return [
            Observation(name, *(values.float() for pair in (stored, seen[name]) for values in pair))
            for name, stored in found.items()
        ]

    def detach(self, *names: str) -> None:
        """Put the original layers back: those named, or all."""
        every: tuple[NormLayer | OwnLayer, ...] = (*self.layers, *self.own)
        gone = {id(layer): layer.layer for layer in every if not names or layer.name in names}
        replace(self.network, gone)
        self.layers = tuple(layer for layer in self.layers if id(layer) not in gone)
        self.own = tuple(layer for layer in self.own if id(layer) not in gone)
        self._selected.clear()


def attach(network: nn.Module, *, own: bool = False) -> NormLayers:
    """Put a thin layer around each norm layer of a network, in place; nothing is copied or changed.

    With `own`, also around those without stored statistics, for modes that learn their weights. Starts in
    mode `fixed`, which calls the original layers. In training mode the layers are transparent. A network
    without norm layers gives a NormLayers of length 0.

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
    switch = Switch()
    layers = tuple(NormLayer(name, layer, switch) for name, layer in found)
    counts = {layer.known.groups for layer in layers if layer.known.is_local} or {1}
    if len(counts) > 1:
        raise ModelError(f"the network's LocalNorm layers differ in their number of groups: {sorted(counts)}")
    others = tuple(OwnLayer(name, layer, switch) for name, layer in own_layers(network)) if own else ()
    replace(network, {id(layer.layer): layer for layer in (*layers, *others)})
    return NormLayers(network, layers, counts.pop(), switch, others)
