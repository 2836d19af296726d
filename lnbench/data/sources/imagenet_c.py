"""ImageNet-C and sets like it: class folders for each condition."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import source
from lnbench.errors import DataError
from lnbench.files import one_line
from lnbench.types import CLEAN, Condition

if TYPE_CHECKING:
    from lnbench.data.store import Listing

_SEVERITY = re.compile(r"\d{1,2}(\.\d{1,3})?")


def looks(path: Path) -> bool:
    """Whether a folder holds corruptions with severities below them."""
    return path.is_dir() and any(_has_severities(entry) for entry in path.iterdir() if entry.is_dir())


def conditions(path: Path) -> list[Condition]:
    """What the folders hold; `clean` from `clean/0/`. DataError where classes differ between conditions."""
    from lnbench.data.folder import class_names

    found: list[Condition] = []
    expected: tuple[Condition, list[str]] | None = None
    for corruption in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if not corruption.name.isprintable() or not _has_severities(corruption):
            continue
        for severity in sorted(corruption.iterdir()):
            if not (severity.is_dir() and _SEVERITY.fullmatch(severity.name)):
                continue
            condition = Condition(corruption.name, float(severity.name))
            if f"{condition.severity:g}" != severity.name or (condition.severity == 0) != condition.is_clean:
                continue  # "05" or "0" of a corruption: no name this set would use
            names = class_names(severity)
            # A label is the place of a folder in the alphabet, so one missing class would shift the rest.
            if expected and names != expected[1]:
                odd = one_line(min(set(names) ^ set(expected[1])))
                raise DataError(f"{path}: {condition} and {expected[0]} differ in their classes ('{odd}')")
            expected = expected or (condition, names)
            found.append(CLEAN if condition.is_clean else condition)
    return found


@source(
    "imagenet-c",
    about="ImageNet-C folders",
    layout="<corruption>/<1…5>/<class>/",
    looks=looks,
    conditions=conditions,
)
def imagenet_c(path: Path, condition: Condition) -> Listing:
    from lnbench.data.folder import list_folder

    folder = path / condition.corruption / f"{condition.severity:g}"
    if not folder.is_dir():
        raise DataError(f"imagenet-c:{path}: holds no {condition}")
    return list_folder(folder, source=f"imagenet-c:{path} {condition}")


def _has_severities(corruption: Path) -> bool:
    """Whether a folder is `<corruption>` of `<corruption>/<severity>/<class>/`."""
    return any(
        _SEVERITY.fullmatch(severity.name) and any(child.is_dir() for child in severity.iterdir())
        for severity in corruption.iterdir()
        if severity.is_dir()
    )
