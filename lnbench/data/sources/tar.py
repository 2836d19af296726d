"""Tar archives of class folders, gzipped or not, read in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import source

if TYPE_CHECKING:
    from lnbench.data.store import Listing

_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def looks(path: Path) -> bool:
    """Whether a file is a tar by its name."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


@source(
    "tar", about="a tar archive of class folders, or a .tgz", layout="<class>/**/<image>", looks=looks, rank=7
)
def tar_archive(path: Path) -> Listing:
    from lnbench.data.archive import list_members, tar_members

    members, fetch = tar_members(path)
    return list_members(path, "tar", members, fetch)
