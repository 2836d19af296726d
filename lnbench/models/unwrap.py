"""From whatever torch.load returned to named, plain tensors: containers, wrappers, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lnbench.errors import CheckpointError
from lnbench.files import one_line
from lnbench.models import keys
from lnbench.models.sniff import size_text

CONTAINERS = ("state_dict", "model", "model_state_dict")
EMA_CONTAINERS = ("state_dict_ema", "model_ema")
# A tensor may be a broadcast view, larger than its storage; beyond the file's own size only up to this.
BROADCAST_LIMIT = 16 << 20  # bytes


def entries(mapping: dict[Any, Any]) -> dict[Any, Any]:
    """A plain copy: an unpickled OrderedDict may carry attributes that shadow its own methods."""
    return dict(dict.items(mapping))


def unwrap(loaded: object, path: Path, ema: bool) -> tuple[str, dict[Any, Any], dict[str, object]]:
    """Container name, state dict and extras of whatever torch.load returned. Raises CheckpointError."""
    if isinstance(loaded, nn.Module):  # only with --allow-pickle
        return "", dict(loaded.state_dict()), {}
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a dict of weights")
    found = entries(loaded)
    wanted: tuple[str, ...] = EMA_CONTAINERS if ema else CONTAINERS
    trail: list[str] = []
    extras: dict[str, object] = {}
    while len(trail) < 4:
        name = next((n for n in wanted if isinstance(found.get(n), dict | nn.Module)), None)
        if name is None:
            break
        inner = found.pop(name)
        extras.update({k: v for k, v in found.items() if isinstance(k, str)})
        found = dict(inner.state_dict()) if isinstance(inner, nn.Module) else entries(inner)
        trail.append(name)
        wanted = (*CONTAINERS, "module")
    if ema and not trail:
        raise CheckpointError(f"{path} holds no EMA weights (state_dict_ema, model_ema): drop --ema")
    if not trail:
        extras = {k: v for k, v in found.items() if isinstance(k, str) and not isinstance(v, Tensor)}
        found = {k: v for k, v in found.items() if k not in extras}
    if not any(isinstance(value, Tensor) for value in found.values()):
        if not ema and any(name in extras for name in EMA_CONTAINERS):
            raise CheckpointError(f"{path} holds only EMA weights: --ema takes them")
        names = [n if isinstance(n, str) else f"a {type(n).__name__}" for n in [*extras, *found][:6]]
        shown = ", ".join(one_line(n, 30) for n in names) or "nothing"
        raise CheckpointError(
            f"{path} holds no weights under {', '.join(CONTAINERS)} or bare; it holds: {shown}"
        )
    return "/".join(trail), found, extras


def cleaned(found: Mapping[Any, Any], path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Names without wrappers → plain CPU tensors, with a `prefix` those below it.

    Raises CheckpointError for everything else.
    """
    size = path.stat().st_size
    for name in found:
        if not isinstance(name, str):
            raise CheckpointError(f"{path} has a {type(name).__name__} where the name of a weight should be")
    if prefix:
        found = below(found, prefix, path)
    names = [name for name in found if name != "n_averaged"]  # torch's AveragedModel counts beside its module
    names = names if keys.wrapper(names) else list(found)
    wrapper = keys.wrapper(names)
    return {name[len(wrapper) :]: plain_tensor(found[name], name, size, path) for name in names}


def below(found: Mapping[str, Any], prefix: str, path: Path) -> dict[str, Any]:
    """The entries whose names begin with `prefix`, with wrappers that lead all names before it or without.

    Raises CheckpointError where there are none.
    """
    for lead in dict.fromkeys(("", keys.wrapper(list(found)))):
        full = lead + prefix.removesuffix(".") + "."
        if taken := {name[len(full) :]: value for name, value in found.items() if name.startswith(full)}:
            return taken
    raise CheckpointError(
        f"{path} has no weights below --prefix {one_line(prefix, 60)}; its names: {keys.grouped(list(found))}"
    )


def plain_tensor(value: object, name: str, size: int, path: Path) -> Tensor:
    """The value as an ordinary dense tensor without gradient or attributes; `size` is the file's.

    Raises CheckpointError for anything else.
    """
    shown = one_line(name, 60)
    if type(value) not in (Tensor, nn.Parameter):
        raise CheckpointError(f"{path}: '{shown}' is a {type(value).__name__}, not a tensor")
    tensor = Tensor.detach(value)  # type: ignore[arg-type]
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise CheckpointError(f"{path}: '{shown}' is sparse, quantized or without data, not plain weights")
    if tensor.is_complex():
        raise CheckpointError(f"{path}: '{shown}' is complex, which no classifier's weight is")
    extent = tensor.numel() * tensor.element_size()
    if extent > size and extent > BROADCAST_LIMIT:
        claim = f"'{shown}' claims {size_text(extent)} of a file of {size_text(size)}"
        raise CheckpointError(f"{path}: {claim}: damaged or hostile")
    return tensor
