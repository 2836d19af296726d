"""BatchNorm to LocalNorm and back, for networks in memory and for the tensors of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lnbench.errors import CheckpointError, ModelError
from lnbench.norm.layer import Stored, describe, norm_layers, replace
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.registry import make
from lnbench.norm.selection import select
from lnbench.norm.stats import mean_over_groups
from lnbench.norm.wrap import attach


def convert_localnorm(module: nn.Module, groups: int, layers: Sequence[str] = ()) -> nn.Module:
    """Replace the BatchNorm layers of a network by LocalNorm layers with K = `groups`.

    `layers` names those to convert, or modules that hold them ("layer1"), as `named_modules` does; or
    "first3", "last3", counted over all norm layers as the modes' `layers=` counts them; empty for all.

    Each BatchNorm's weight and bias are copied into every group (1 and 0 where it has none); statistics,
    eps and momentum are kept, and in timm's BatchNormAct2d the dropout and activation. Converts
    BatchNorm2d, BatchNorm3d, SyncBatchNorm, torchvision's FrozenBatchNorm2d and timm's BatchNormAct2d.
    BatchNorm1d stays: it mostly follows dense layers, where one image has a single value per channel and
    so no statistics of its own.
    Works in place and returns the network; give the optimizer its parameters afterwards.

    Raises:
        ValueError: `groups` is less than 1.
        ModelError: there is nothing to convert, a name holds nothing to convert, the network has
            LocalNorm layers already, or a norm layer is of a kind that is not understood.

    Example:
        >>> import lnbench, torch
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        >>> lnbench.convert_localnorm(network, groups=8)[1]
        LocalNorm2d(4, groups=8, eps=1e-05, momentum=0.1)
    """
    if groups < 1:
        raise ValueError(f"convert_localnorm needs groups >= 1, got {groups}")
    present = dict(norm_layers(module))
    if any(isinstance(layer, LocalNorm2d) for layer in present.values()):
        raise ModelError("the network has LocalNorm layers already; convert it back to BatchNorm first")
    convertible = {name: layer for name, layer in present.items() if not isinstance(layer, nn.BatchNorm1d)}
    if not convertible:
        raise ModelError(
            "the network has no BatchNorm layer over feature maps: there is nothing to convert to LocalNorm"
        )
    layers = _counted(layers, tuple(present))
    for wanted in layers:
        if not any(_within(name, wanted) for name in convertible):
            raise ModelError(
                f"the network has no BatchNorm layer over feature maps called or within '{wanted}';"
                f" it has {', '.join(list(convertible)[:4])}, …"
            )
    # One replacement for each layer, even where the network uses that layer in several places.
    made = {
        id(layer): _to_local(name, layer, groups)
        for name, layer in convertible.items()
        if not layers or any(_within(name, wanted) for wanted in layers)
    }
    return replace(module, made)


def convert_like(network: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """Convert those layers of a network that are LocalNorm in a checkpoint's tensors; return K, or None.

    Where the network's names are others than the checkpoint's, all of its layers.
    """
    groups = is_localnorm(tensors)
    if groups is not None:
        names = [name.removesuffix(".weight") for name in _local_weights(tensors)]
        present = {name for name, _ in norm_layers(network)}
        convert_localnorm(network, groups, names if present.issuperset(names) else ())
    return groups


def to_batchnorm(module: nn.Module) -> nn.Module:
    """Replace the LocalNorm layers of a network by the BatchNorm layers they were converted from.

    Weights and biases are averaged over the groups, stored statistics and eps kept. LocalNorm layers that
    were never BatchNorm become BatchNorm2d. Works in place and returns the network.

    Raises:
        ModelError: the network has no LocalNorm layer.

    Example:
        >>> import lnbench, torch
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), lnbench.LocalNorm2d(4, groups=2))
        >>> type(lnbench.to_batchnorm(network)[1]).__name__
        'BatchNorm2d'
    """
    local = {name: layer for name, layer in norm_layers(module) if isinstance(layer, LocalNorm2d)}
    if not local:
        raise ModelError("the network has no LocalNorm layer, so there is nothing to convert to BatchNorm")
    return replace(module, {id(layer): _to_batch(layer) for layer in local.values()})


def kept_layers(converted: nn.Module) -> tuple[str, ...]:
    """Name the layers of a converted network that are not LocalNorm."""
    return tuple(name for name, layer in norm_layers(converted) if not isinstance(layer, LocalNorm2d))


def is_localnorm(tensors: Mapping[str, Tensor]) -> int | None:
    """Recognise the tensors of a LocalNorm network: return K, or None for any other network.

    A LocalNorm layer is a weight (K, C) beside a running_mean (C,).

    Raises:
        CheckpointError: layers with different K.
    """
    found = {tensors[name].shape[0]: name for name in _local_weights(tensors)}
    if len(found) > 1:
        named = ", ".join(f"{count} in '{name}'" for count, name in sorted(found.items()))
        raise CheckpointError(f"the LocalNorm layers differ in their number of groups: {named}")
    return next(iter(found), None)


def verify_conversion(original: nn.Module, converted: nn.Module, inputs: Tensor) -> float:
    """Check a conversion that has not been trained yet, and return the largest difference of outputs.

    The converted network cuts `inputs` (B, 3, H, W), B a multiple of K, into K groups; the original sees
    each group as a batch of its own (ghost batches) in mode `batch`. Layers that were not converted keep
    their stored statistics in both. What remains is rounding. Both networks are left as they were.
    """
    training = [
        (module, module.training) for network in (original, converted) for module in network.modules()
    ]
    for module, _ in training:
        module.training = False  # no dropout
    before, after = attach(original), attach(converted)
    groups = after.groups
    try:
        if kept := set(after.names) - set(after.local_names):
            before.detach(*kept)
            after.detach(*kept)
        before.use(make("batch"))
        after.use(make("batch"))
        with torch.inference_mode():
            whole = converted(inputs)
            ghosts = [original(inputs[group::groups]) for group in range(groups)]
            return max(
                float((whole[group::groups] - ghost).abs().max()) for group, ghost in enumerate(ghosts)
            )
    finally:
        before.detach()
        after.detach()
        for module, was in training:
            module.training = was


def _counted(layers: Sequence[str], present: tuple[str, ...]) -> tuple[str, ...]:
    """The names that first3 and last3 stand for, beside names as they are."""
    return tuple(
        name
        for wanted in layers
        for name in (
            sorted(select(wanted, present, (), f"layers={wanted}"), key=present.index)
            if re.fullmatch(r"(first|last)\d+", wanted) and wanted not in present
            else (wanted,)
        )
    )


def _within(name: str, module: str) -> bool:
    """Whether a layer is the module of that name or inside it."""
    return name == module or name.startswith(f"{module}.")


def _local_weights(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights (K, C) that lie beside a running_mean (C,)."""
    means = {name: f"{name.removesuffix('weight')}running_mean" for name in tensors}
    return [
        name
        for name, value in tensors.items()
        if name.split(".")[-1] == "weight"
        and value.ndim == 2
        and means[name] in tensors
        and tensors[means[name]].shape == value.shape[1:]
    ]


def _to_local(name: str, layer: nn.Module, groups: int) -> LocalNorm2d:
    stored: Stored = describe(name, layer)
    channels, like = stored.mean.shape[0], stored.mean
    momentum = cast("float | None", getattr(layer, "momentum", 0.1))
    local = LocalNorm2d(channels, groups, stored.eps, momentum, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        if stored.weight is not None:
            local.weight.copy_(stored.weight.expand(groups, channels))
        if stored.bias is not None:
            local.bias.copy_(stored.bias.expand(groups, channels))
        local.running_mean.copy_(stored.mean)
        local.running_var.copy_(stored.var)
        if isinstance(tracked := getattr(layer, "num_batches_tracked", None), Tensor):
            local.num_batches_tracked.copy_(tracked)
    for part in ("weight", "bias"):
        if isinstance(source := getattr(layer, part), nn.Parameter):  # FrozenBatchNorm2d has buffers
            getattr(local, part).requires_grad_(source.requires_grad)
    local.drop, local.act = getattr(layer, "drop", None), getattr(layer, "act", None)
    local.origin = type(layer)
    return local.train(layer.training)


def _to_batch(local: LocalNorm2d) -> nn.Module:
    kind, like = local.origin or nn.BatchNorm2d, local.running_mean
    layer = kind(local.num_features, eps=local.eps)
    layer.to(device=like.device, dtype=like.dtype)
    with torch.no_grad():
        # FrozenBatchNorm2d keeps its weight and bias as buffers; both kinds are filled the same way.
        for part in ("weight", "bias"):
            getattr(layer, part).copy_(mean_over_groups(getattr(local, part)))
            if isinstance(target := getattr(layer, part), nn.Parameter):
                target.requires_grad_(getattr(local, part).requires_grad)
        for part in ("running_mean", "running_var", "num_batches_tracked"):
            if hasattr(layer, part):
                getattr(layer, part).copy_(getattr(local, part))
    kept = ("momentum",) + (("drop", "act") if local.act is not None else ())
    for part in kept:
        if hasattr(layer, part):
            setattr(layer, part, getattr(local, part))
    return layer.train(local.training)
