"""The authors' own files, loaded by path beside the modes they define; tests that need them skip without."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


def load(shared: Path, name: str, monkeypatch: pytest.MonkeyPatch, **stubs: ModuleType) -> ModuleType:
    """One file of `shared/official`, such as `tent/tent.py`; `stubs` stand for modules that it imports."""
    path = shared / "official" / name
    if not path.exists():
        pytest.skip(f"the authors' file {name} is not beside this clone")
    for stub, module in stubs.items():
        monkeypatch.setitem(sys.modules, stub, module)
    spec = importlib.util.spec_from_file_location(f"official_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(torch.jit, "script", lambda function: function)  # deprecated, and slow to begin
    spec.loader.exec_module(module)
    return module


def stub(name: str, **attributes: object) -> ModuleType:
    """A module that holds nothing but these."""
    module = ModuleType(name)
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    return module
