"""A folder of images without labels: to choose a mode with, or to convert a network, not to score it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import source

if TYPE_CHECKING:
    from lnbench.data.store import Listing


def looks(path: Path) -> bool:
    """A folder that holds images and no folders."""
    from lnbench.data.tree import is_image, visible

    if not path.is_dir():
        return False
    found = [entry for entry in os.scandir(path) if visible(entry.name)]
    return any(is_image(entry.name) for entry in found) and not any(entry.is_dir() for entry in found)


@source("images", about="a folder of images without labels", layout="**/<image>", looks=looks, rank=8)
def images(path: Path) -> Listing:
    from lnbench.data.folder import list_images

    return list_images(path)
