"""torch and numpy for files that declare something beside the code that needs them: loaded when first used.

What corruptions, modes, metrics and data there are is asked by every command, also by those that compute
nothing; torch takes seconds to load. `from lnbench.lazy import F, np, torch` stands for the usual imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


class _Lazy:
    """A module that is imported when something in it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        value = getattr(import_module(self._name), name)
        setattr(self, name, value)  # found without this call from now on
        return value


if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.nn import functional as F
else:
    np, torch, F = _Lazy("numpy"), _Lazy("torch"), _Lazy("torch.nn.functional")

__all__ = ["F", "np", "torch"]
