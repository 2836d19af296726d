"""A network from a function in a person's own file: called so that its mistakes have a place, and identified.

What such a network computes is decided by its code as much as by its weights, so the code has a digest: of
the file, and of every file of its folder that it imports, found by reading them. What is imported under a
name that is only made up while running is not found.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from lnbench.errors import ModelError
from lnbench.files import one_line, read_bytes, said

_MOST_BYTES = 1 << 24  # of a Python file


def call(path: Path, function: str, classes: int | None) -> tuple[nn.Module, object]:
    """The network that `function` returns, and what it returns beside it: its preprocessing, or None.

    Raises ModelError.
    """
    factory = getattr(load_module(path), function, None)
    if not callable(factory):
        raise ModelError(f"{one_line(path)} has no function '{function}' that builds a network")
    with running(path, f"{function}()"):
        names = list(inspect.signature(factory).parameters)
        head = next((name for name in ("num_classes", "classes") if name in names), None)
        network = factory(**({head: classes} if head and classes else {}))
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


def load_module(path: Path) -> ModuleType:
    """Run the file as a module, its neighbours importable, as in a script. Raises ModelError."""
    text = _read(path)
    location = importlib.util.spec_from_file_location(f"lnbench_user_{path.stem}", path)
    if location is None or location.loader is None:
        raise ModelError(f"{one_line(path)} is not a Python file")
    module = importlib.util.module_from_spec(location)
    # Dataclasses and pickle look a class's module up here.
    sys.modules[module.__name__] = module
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    with running(path, "it"):
        # Not through the loader: its cache of compiled code knows a file by size and second alone, and
        # would run the text before an edit, which is not the one that `code_digest` reads.
        exec(compile(text, str(path), "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def running(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a person's code raises into one line with the line of their file that did it."""
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else (lines or [None])[-1]
        where = f"{one_line(path)}, line {line}" if line else one_line(path)
        raise ModelError(f"{where}: {what} raised {type(error).__name__}: {said(error)}") from None


def blame(network: nn.Module, error: BaseException) -> ModelError:
    """What a forward pass raised, with the last line of a person's own code on the way to it, if any."""
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    strangers = (*libraries, str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<")
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(strangers)
    ]
    where = f"{one_line(own[-1].filename)}, line {own[-1].lineno}: " if own else ""
    return ModelError(
        f"{where}forward of {type(network).__name__} raised {type(error).__name__}: {said(error)}"
    )


def code_digest(path: Path) -> str:
    """sha256 (hex) over the file and those of its folder that it imports. Raises ModelError."""
    folder = path.resolve().parent
    total = hashlib.sha256()
    for file in sorted(_reached(path.resolve(), folder)):
        name = file.relative_to(folder).as_posix()
        content = hashlib.sha256(_read(file)).hexdigest()
        total.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _reached(path: Path, folder: Path) -> set[Path]:
    found, waiting = {path}, [path]
    while waiting:
        file = waiting.pop()
        new = set(_imported(file, folder)) - found
        found |= new
        waiting += new
    return found


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    """Files within `folder` that one file imports at its top or anywhere within."""
    try:
        tree = ast.parse(_read(file))
    except (SyntaxError, ValueError, RecursionError):
        return  # not imported with success, so nothing of it was run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(folder, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            module = node.module.split(".") if node.module else []
            if base.is_relative_to(folder):
                for alias in node.names:
                    yield from _files(base, [*module, alias.name])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield from _files(folder, node.args[0].value.split("."))


def _files(base: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files that importing a dotted name from `base` runs: packages on the way, and the module."""
    for name in names:
        if not name.isidentifier():
            return
        for file in (base / f"{name}.py", base / name / "__init__.py"):
            if file.is_file():
                yield file.resolve() if file.resolve().is_relative_to(base) else file
        base = base / name


def _read(file: Path) -> bytes:
    return read_bytes(file, ModelError, most=_MOST_BYTES)


def state_digest(network: nn.Module) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of what `state_dict` holds."""
    total = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
            plain = tensor.detach().cpu().contiguous()
            total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\n".encode())
            total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
