"""lnbench: how robust is an image classifier, and how much of it is in its normalization statistics?

The public Python names below are loaded when they are first used, so that `import lnbench` is quick.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lnbench.api import compare, corruptions, evaluate, modes, presets, read
    from lnbench.corruptions.registry import corruption
    from lnbench.corruptions.rng import Key
    from lnbench.data.registry import source
    from lnbench.metrics import metric
    from lnbench.norm.convert import convert_localnorm, to_batchnorm
    from lnbench.norm.localnorm import LocalNorm2d
    from lnbench.norm.modes.registry import mode
    from lnbench.norm.session import norm_mode, with_mode
    from lnbench.record import RunComparison, RunRecord
    from lnbench.transform import Corrupt, corrupt

__version__ = "0.1.0"

__all__ = [
    "Corrupt",
    "Key",
    "LocalNorm2d",
    "RunComparison",
    "RunRecord",
    "__version__",
    "compare",
    "convert_localnorm",
    "corrupt",
    "corruption",
    "corruptions",
    "evaluate",
    "metric",
    "mode",
    "modes",
    "norm_mode",
    "presets",
    "read",
    "source",
    "to_batchnorm",
    "with_mode",
]

_HOMES = {
    "Corrupt": "lnbench.transform",
    "Key": "lnbench.corruptions.rng",
    "LocalNorm2d": "lnbench.norm.localnorm",
    "RunComparison": "lnbench.record",
    "RunRecord": "lnbench.record",
    "compare": "lnbench.api",
    "convert_localnorm": "lnbench.norm.convert",
    "corrupt": "lnbench.transform",
    "corruption": "lnbench.corruptions.registry",
    "corruptions": "lnbench.api",
    "evaluate": "lnbench.api",
    "metric": "lnbench.metrics",
    "mode": "lnbench.norm.modes.registry",
    "modes": "lnbench.api",
    "norm_mode": "lnbench.norm.session",
    "presets": "lnbench.api",
    "read": "lnbench.api",
    "source": "lnbench.data.registry",
    "to_batchnorm": "lnbench.norm.convert",
    "with_mode": "lnbench.norm.session",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'lnbench' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """This package. A public name stays what it is when the folder of the same name is imported.

    Importing `lnbench.corruptions.registry` binds `corruptions` on its parent to the folder's module, which
    would hide the public function from then on. `from lnbench.corruptions import registry` finds the module
    without that binding; `import lnbench.corruptions as name` gives the function.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
