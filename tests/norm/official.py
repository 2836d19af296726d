"""The authors' own files, loaded by path beside the modes they define; tests that need them skip without."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


def load(
    shared: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    instead: tuple[str, str] = ("", ""),
    **stubs: ModuleType,
) -> ModuleType:
    """One file of `shared/official`, such as `tent/tent.py`.

    `stubs` stand for modules that it imports; `instead`: a piece of its text and what replaces it.
    """
    path = shared / "official" / name
    if not path.exists():
        pytest.skip(f"the authors' file {name} is not beside this clone")
    for module, found in stubs.items():
        monkeypatch.setitem(sys.modules, module, found)
    monkeypatch.setattr(torch.jit, "script", lambda function: function)  # deprecated, and slow to begin
    text = path.read_text(encoding="utf-8")
    assert instead[0] in text
    made = ModuleType(path.stem)
    exec(compile(text.replace(*instead) if instead[0] else text, str(path), "exec"), made.__dict__)
    return made


def stub(name: str, **attributes: object) -> ModuleType:
    """A module that holds nothing but these."""
    module = ModuleType(name)
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    return module
