"""A network that is lent: what is under its wrappers, and everything put back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# What training, casting and wrapping change in a module beside its tensors: dicts of its own.
_DICTS = ("_modules", "_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def bare(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, DataParallel and DistributedDataParallel; it shares their weights."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


@contextlib.contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Whatever is done to a network in the block, it is its old self behind it, also after an exception.

    Put back are the submodules, the training flag of each, hooks, parameters with their device, type, memory
    format, gradient and requires_grad, buffers, and a `forward` set on the network itself. Weights are not
    copied: what writes into them in place is not undone. Gradients are out of sight in the block.
    """
    modules = [
        (module, module.training, {name: dict(getattr(module, name)) for name in _DICTS})
        for module in network.modules()
    ]
    parameters = [(p, p.data, p.requires_grad, p.grad) for p in network.parameters()]
    forward = network.__dict__.get("forward")
    # A buffer is replaced when it moves, but changed in place when its type does.
    buffers = [(buffer, buffer.data) for buffer in network.buffers()]
    try:
        for parameter, *_ in parameters:
            parameter.grad = None
        yield
    finally:
        for module, training, dicts in modules:
            module.training = training
            for name, content in dicts.items():
                _refill(getattr(module, name), content)
        for parameter, data, requires_grad, gradient in parameters:
            _give_back(parameter, data)
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
        for buffer, data in buffers:
            _give_back(buffer, data)
        if forward is None:
            network.__dict__.pop("forward", None)
        else:
            network.__dict__["forward"] = forward


def _refill(target: dict[str, Any], content: dict[str, Any]) -> None:
    same = list(target) == list(content) and all(target[name] is content[name] for name in content)
    if not same:
        target.clear()
        target.update(content)


def _give_back(tensor: Tensor, data: Tensor) -> None:
    with torch.no_grad():
        if type(tensor.data) is type(data):
            tensor.data = data
            return
        # A tensor of another class was moved by exchanging all that it is.
        own = nn.Parameter(data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data
        torch.utils.swap_tensors(tensor, own)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Torch's own switches and the CPU's random state, put back behind the block; autocast is off in it."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    # Fresh weights and a loader's workers draw from the global generator.
    with torch.random.fork_rng(devices=[]), contextlib.ExitStack() as stack:
        for device in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        finally:
            cudnn.allow_tf32, matmul.allow_tf32 = before
