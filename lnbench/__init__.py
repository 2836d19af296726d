"""lnbench: how robust is an image classifier, and how much of it is in its normalization statistics?

The public Python names below are loaded when they are first used, so that `import lnbench` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lnbench.corruptions.native import corrupt
    from lnbench.corruptions.rng import Key
    from lnbench.norm.convert import convert_localnorm, to_batchnorm
    from lnbench.norm.localnorm import LocalNorm2d
    from lnbench.results.frame import to_pandas
    from lnbench.results.reading import read

__version__ = "0.1.0"

__all__ = [
    "Key",
    "LocalNorm2d",
    "__version__",
    "convert_localnorm",
    "corrupt",
    "read",
    "to_batchnorm",
    "to_pandas",
]

_HOMES = {
    "Key": "lnbench.corruptions.rng",
    "LocalNorm2d": "lnbench.norm.localnorm",
    "convert_localnorm": "lnbench.norm.convert",
    "corrupt": "lnbench.corruptions.native",
    "read": "lnbench.results.reading",
    "to_batchnorm": "lnbench.norm.convert",
    "to_pandas": "lnbench.results.frame",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'lnbench' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
