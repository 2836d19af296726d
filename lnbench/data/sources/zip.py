"""Zip archives of class folders, read in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import source

if TYPE_CHECKING:
    from lnbench.data.store import Listing


def looks(path: Path) -> bool:
    """Whether a file is a zip by its name."""
    return path.suffix.lower() == ".zip" and path.is_file()


@source("zip", about="a zip archive of class folders", layout="<class>/**/<image>", looks=looks)
def zip_archive(path: Path) -> Listing:
    from lnbench.data.archive import list_members, zip_bytes, zip_members

    archive, members = zip_members(path)
    return list_members(path, "zip", members, lambda member: zip_bytes(archive, member))
