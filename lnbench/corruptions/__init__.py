"""The corruptions: every file of this folder is imported, and so what it declares is entered.

None of them loads torch or numpy by that, so what there is can be asked by every command.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def load() -> None:
    """Import the folder's files; each corruption enters the registry by the decorator above its kernel."""
    for file in iter_modules(__path__):
        import_module(f"{__name__}.{file.name}")


load()
