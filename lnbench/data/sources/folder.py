"""Class folders, read as torchvision's ImageFolder does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import source

if TYPE_CHECKING:
    from lnbench.data.store import Listing


@source("folder", about="a folder of class folders", layout="<class>/**/<image>", looks=Path.is_dir, rank=9)
def folder(path: Path) -> Listing:
    from lnbench.data.folder import list_folder

    return list_folder(path)
