"""A network from a function in a person's own file or module, called so that its mistakes have a place."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from lnbench.blame import described, own_line
from lnbench.errors import LnbenchError, ModelError
from lnbench.files import one_line
from lnbench.models.code import package_of, read_code


def call(
    path: Path, function: str, classes: int | None, arguments: Mapping[str, object] = {}
) -> tuple[nn.Module, object]:
    """The network that `function` returns, and what it returns beside it: its preprocessing, or None.

    It is given `arguments` by name, and `classes` where it has a parameter `num_classes` or `classes`.
    Raises ModelError.
    """
    factory = getattr(load_module(path), function, None)
    if not callable(factory):
        raise ModelError(f"{one_line(path)} has no function '{function}' that builds a network")
    with running(path, f"{function}()"):
        parameters = inspect.signature(factory).parameters
        _check_arguments(f"{one_line(path)}:{function}", arguments, parameters)
        head = next((name for name in ("num_classes", "classes") if name in parameters), None)
        own = {head: classes} if head and classes else {}
        network = factory(**{**own, **arguments})
    said = None
    if isinstance(network, tuple) and len(network) == 2:
        network, said = network
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{one_line(path)}:{function} returned a {type(network).__name__}, not a torch.nn.Module"
        )
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in network.parameters()):
        raise ModelError(
            f"{one_line(path)}:{function} has lazy layers without a shape: run it once inside {function}()"
        )
    return network, said


def _check_arguments(
    where: str, arguments: Mapping[str, object], parameters: Mapping[str, inspect.Parameter]
) -> None:
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    for name in arguments:
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise ModelError(f"{where} has no parameter '{name}'; its parameters: {known}")


def find_file(module: str) -> Path:
    """The file of a module that can be imported from here, as `python -c` would. Raises ModelError."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with running(Path(module), "importing it"):
        found = importlib.util.find_spec(module)
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise ModelError(f"--model {module}: no Python file is imported by that name from {Path.cwd()}")
    return Path(found.origin)


def make_importable(path: Path) -> None:
    """Let imports find the file's neighbours, or the package it lies in."""
    for folder in dict.fromkeys((path.resolve().parent, package_of(path)[0])):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def load_module(path: Path) -> ModuleType:
    """Run the file as a module, its neighbours importable, as in a script; relative imports work too.

    Raises ModelError.
    """
    text = read_code(path)
    make_importable(path)
    with running(path, "its package"):
        package = _package(path)
    location = importlib.util.spec_from_file_location(f"{package}.lnbench_user_{path.stem}", path)
    if location is None or location.loader is None:
        raise ModelError(f"{one_line(path)} is not a Python file")
    module = importlib.util.module_from_spec(location)
    # Dataclasses and pickle look a class's module up here.
    sys.modules[module.__name__] = module
    with running(path, "it"):
        # Not through the loader: its cache of compiled code knows a file by size and second alone, and
        # would run the text before an edit, which is not the one that `code_digest` reads.
        exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def _package(path: Path) -> str:
    """The name that `from .` stands for in a file: its package, or a stand-in for its folder."""
    _, names = package_of(path)
    if names:
        importlib.import_module(".".join(names))
        return ".".join(names)
    folder = path.resolve().parent
    name = f"lnbench_folder_{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
    if name not in sys.modules:
        stand_in = ModuleType(name)
        stand_in.__path__ = [str(folder)]
        sys.modules[name] = stand_in
    return name


@contextlib.contextmanager
def running(path: Path, what: str) -> Iterator[None]:
    """Turn what a person's code raises, an exit too, into one line with the line of theirs that did it."""
    try:
        yield
    except LnbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{own_line(error) or one_line(path)}: {what} raised {described(error)}") from None


def blame(network: nn.Module, error: BaseException) -> ModelError:
    """What a forward pass raised, with the last line of a person's own code on the way to it, if any."""
    line = own_line(error)
    where = f"{line}: " if line else ""
    return ModelError(f"{where}forward of {type(network).__name__} raised {described(error)}")


def state_digest(network: nn.Module) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of what `state_dict` holds."""
    total = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
            plain = tensor.detach().cpu().contiguous()
            total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\n".encode())
            total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
