"""One set of class folders in every form that holds the same files."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from lnbench.data.folder import list_folder

# A form is written to a folder of its own and gives the spec that reads it.
Form = Callable[[Path, Path], str]


def members(root: Path) -> list[tuple[str, str, int]]:
    """Name, class and label of each image, in the order of its folder."""
    listing = list_folder(root)
    labels = [int(label) for label in listing.labels]
    return [(listing.name(k), listing.classes[label], label) for k, label in enumerate(labels)]


def as_zip(root: Path, out: Path) -> str:
    with zipfile.ZipFile(out / "set.zip", "w") as archive:
        for name, _, _ in reversed(members(root)):
            archive.write(root / name, name)
    return f"zip:{out / 'set.zip'}"


def as_tar(root: Path, out: Path) -> str:
    with tarfile.open(out / "set.tar", "w") as archive:
        for name, _, _ in reversed(members(root)):
            archive.add(root / name, f"./wrapped/{name}")
    return f"tar:{out / 'set.tar'}"


def as_list(root: Path, out: Path) -> str:
    (root / "set.txt").write_text("".join(f"{name} {kind}\n" for name, kind, _ in members(root)))
    return f"list:{root / 'set.txt'}"


def as_csv(root: Path, out: Path) -> str:
    rows = "".join(f'{label},"{root / name}",x\n' for name, _, label in members(root))
    (out / "set.csv").write_text(f"label,path,more\n{rows}")
    return f"list:{out / 'set.csv'}"


# Those that keep the names of the classes, and those that keep the numbers of the labels alone.
NAMED: dict[str, Form] = {"zip": as_zip, "tar": as_tar, "list": as_list}
NUMBERED: dict[str, Form] = {"list of numbers": as_csv}
EVERY = NAMED | NUMBERED
