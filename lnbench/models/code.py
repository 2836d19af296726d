"""The digest of a person's code: of a file, and of every file of its folder that it imports.

The files are found by reading them, so what is imported under a name that is only made up while running is
not found.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from lnbench.errors import ModelError
from lnbench.files import read_bytes

_MOST_BYTES = 1 << 24  # of a Python file


def read_code(path: Path) -> bytes:
    """The text of a Python file. Raises ModelError."""
    return read_bytes(path, ModelError, most=_MOST_BYTES)


def package_of(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that imports start from, and the names of the packages down to the file's own folder.

    `(/home/me, ("nets", "deep"))` for /home/me/nets/deep/net.py, where both folders have an `__init__.py`.
    """
    folder, names = path.resolve().parent, []
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.append(folder.name)
        folder = folder.parent
    return folder, tuple(reversed(names))


def code_digest(path: Path) -> str:
    """sha256 (hex) over the file and those of its folder, or of its package, that it imports. ModelError."""
    root, names = package_of(path)
    folder = root / names[0] if names else root
    total = hashlib.sha256()
    for file in sorted(_reached(path.resolve(), folder)):
        name = file.relative_to(folder).as_posix()
        content = hashlib.sha256(read_code(file)).hexdigest()
        total.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _reached(path: Path, folder: Path) -> set[Path]:
    root, names = package_of(path)
    inits = [root.joinpath(*names[: depth + 1], "__init__.py") for depth in range(len(names))]
    found, waiting = {path, *inits}, [path, *inits]
    while waiting:
        file = waiting.pop()
        new = set(_imported(file, folder)) - found
        found |= new
        waiting += new
    return found


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    """Files within `folder` that one file imports at its top or anywhere within."""
    try:
        tree = ast.parse(read_code(file))
    except (SyntaxError, ValueError, RecursionError):
        return  # not imported with success, so nothing of it was run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _named(file, folder, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                if not node.level:
                    yield from _named(file, folder, [*module, alias.name])
                elif node.level <= len(file.parents) and file.parents[node.level - 1].is_relative_to(folder):
                    yield from _files(file.parents[node.level - 1], [*module, alias.name])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield from _named(file, folder, node.args[0].value.split("."))


def _named(file: Path, folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files that an absolute import runs, from the folder of all files or under its name as a package."""
    yield from _files(folder, names)
    if names[0] == folder.name and (folder / "__init__.py").is_file():
        yield from _files(folder.parent, names)


def _files(base: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files that importing a dotted name from `base` runs: packages on the way, and the module."""
    for name in names:
        if not name.isidentifier():
            return
        for file in (base / f"{name}.py", base / name / "__init__.py"):
            if file.is_file():
                yield file.resolve() if file.resolve().is_relative_to(base) else file
        base = base / name
