"""torch and numpy for files that declare something beside the code that needs them: loaded when first used.

What corruptions, modes, metrics and data there are is asked by every command, also by those that compute
nothing; torch takes seconds to load. `from lnbench.lazy import F, np, torch` stands for the usual imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


class _Lazy:
    """A module that is imported when something in it is asked for, and `others` with it."""

    def __init__(self, name: str, *others: _Lazy) -> None:
        self._name, self._others = name, others

    def __getattr__(self, name: str) -> object:
        self._load()
        return getattr(import_module(self._name), name)

    def _load(self) -> None:
        # Whole, at the first use: torch.compile cannot trace an import that comes in its midst.
        content = vars(import_module(self._name)).items()
        vars(self).update({name: value for name, value in content if not name.startswith("_")})
        for other in self._others:
            other._load()


if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.nn import functional as F
else:
    np, F = _Lazy("numpy"), _Lazy("torch.nn.functional")
    torch = _Lazy("torch", F)

__all__ = ["F", "np", "torch"]
