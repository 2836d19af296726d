"""The import rules, walked for every file: imports point down, and peers are strangers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "lnbench"
FILES = sorted(ROOT.rglob("*.py"))

GROUND = {
    "errors",
    "blame",
    "faults",
    "limits",
    "pickles",
    "types",
    "files",
    "lazy",
    "hashing",
    "hub",
    "plain",
    "device",
}
PARTS = {"models", "norm", "corruptions", "data", "results"}
ROOT_FILES = {"metrics", "dist", "memory", "streams"}
ROOMS = {"evaluate", "training", "pictures"}
BELOW_ROOMS = PARTS | ROOT_FILES | {"suite", "config"}
# What each top-level name of the package may import, besides itself and GROUND.
ALLOWED = {
    **{name: set() for name in GROUND | PARTS | ROOT_FILES},
    "results": {"metrics"},
    "suite": {"corruptions", "data", "norm"},
    "config": PARTS | {"suite"},
    "evaluate": BELOW_ROOMS,
    "training": BELOW_ROOMS,
    "pictures": BELOW_ROOMS | {"evaluate"},  # a corrupted set is the first half of a batch's trip
    "testing": BELOW_ROOMS | ROOMS | {"api"},
    "cli": BELOW_ROOMS | ROOMS | {"progress"},
    "transform": {"suite", "corruptions"},
    "progress": ROOMS | {"results"},
    "record": BELOW_ROOMS,
    "words": set(),
    "api": BELOW_ROOMS | ROOMS | {"transform", "progress", "record", "words"},
    "__init__": {"api", "record", "transform", "norm", "corruptions", "data", "metrics"},
    "__main__": {"cli", "streams"},
}
ONLY_IN = {
    "imagecorruptions": {"corruptions/reference.py"},
    "rich": {"cli/console.py", "progress.py", "results/render/live.py", "results/render/terminal.py"},
    "timm": {"models/registry.py", "norm/layer.py"},
}
# Asked by commands that compute nothing: what they need of torch comes from lnbench.lazy.
NO_TORCH = {"results", "suite", "config", "metrics", "corruptions", "errors", "types", "files"}


def imported(path: Path, module_level_only: bool = False) -> set[str]:
    """Dotted names of everything `path` imports, `if TYPE_CHECKING` blocks left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        if module_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(tree)
    return names


def top(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    part = top(path)
    assert part in ALLOWED, f"{part} has no import rule"
    allowed = ALLOWED[part] | GROUND | {part}
    used = {name.split(".")[1] for name in imported(path) if name.startswith("lnbench.")} - {"__version__"}
    assert used <= allowed, f"{path} imports {used - allowed}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_guarded_packages(path: Path) -> None:
    where = str(path.relative_to(ROOT))
    for name in imported(path):
        owners = ONLY_IN.get(name.split(".")[0])
        assert owners is None or where in owners, f"{where} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_torch_where_start_up_matters(path: Path) -> None:
    where = str(path.relative_to(ROOT))
    roots = {name.split(".")[0] for name in imported(path, module_level_only=top(path) == "cli")}
    if top(path) in NO_TORCH | {"cli"}:
        assert not roots & {"torch", "torchvision"}, f"{where} imports torch"


@pytest.mark.parametrize("module", ["lnbench.corruptions", "lnbench.config"])
def test_what_there_is_can_be_asked_without_torch_and_numpy(module: str) -> None:
    """Importing the package of corruptions imports all its files, and no use of torch at module level."""
    program = f"import sys, {module}; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_door_to_torch_load(path: Path) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "load"
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    ]
    assert not calls or str(path.relative_to(ROOT)) == "models/checkpoint.py"


# A library's own files, looked at before; the package's own; those that are opened to be written.
OWN_FILES = {
    "data/sources/hf.py",
    "data/labels.py",
    "corruptions/reference.py",
    "pictures/layouts.py",
    "results/render/github.py",
}
READERS = {"open", "read_bytes", "read_text", "open_memmap", "memmap", "mmap", "safe_open", "load_from_disk"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_door_to_files(path: Path) -> None:
    """What a person or a file names is opened in files.py, where pipes, devices and folders are refused."""
    where = str(path.relative_to(ROOT))
    if where in OWN_FILES | {"files.py", "streams.py"}:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func).rpartition(".")[0]
        inner = owner in ("archive", "Image", "tarfile", "registry")  # members, bytes, an open file
        door = name == "read_bytes" and not owner
        assert name not in READERS or inner or door, f"{where}:{node.lineno}: {ast.unparse(node)[:80]}"
