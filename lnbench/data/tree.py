"""Names in a tree of class folders: which are images, of which class, in which order. No file is opened.

One order for folders and archives, that of torchvision's ImageFolder but for numbered classes: the same
files have the same ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lnbench.data.names import is_number
from lnbench.errors import DataError
from lnbench.files import one_line, printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_TRAINING = ("train", "training")
_EVALUATION = ("val", "valid", "validation", "test", "testing")  # the first that is there is taken


@dataclass(frozen=True)
class Tree:
    """A tree of class folders, in ImageFolder's order.

    `folder`: what lies above the class folders, "" or "imagenet-a/val/"; `part`: the split in it that was
    chosen among several, or "". `left_out`: files that are no images, by suffix. `names` (with `folder` left
    out) and `labels`, indices into `classes`: one for each image.
    """

    folder: str
    part: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    left_out: Mapping[str, int]


def visible(name: str) -> bool:
    """Whether a file or folder of this name counts: none that systems and tools leave behind."""
    return not name.startswith(".") and name != "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file's name is that of a picture, and not hidden."""
    return visible(name) and name.lower().endswith(SUFFIXES)


def suffix(name: str) -> str:
    """The suffix of a file that is no image, as it is counted: lower case, "" where there is none."""
    stem, dot, end = name.rpartition(".")
    return f".{one_line(end, 12).lower()}" if dot and stem and end else ""


def in_order(classes: Iterable[str]) -> list[str]:
    """Class folders in label order: by number where all are whole numbers, else alphabetical.

    Sets that name their folders 0 … 999 mean the numbers of a network's outputs, whatever order text has.
    """
    listed = sorted(classes)
    return sorted(listed, key=int) if all(is_number(name) for name in listed) else listed


def only_splits(folders: Collection[str]) -> bool:
    """Whether folders are the splits of a dataset rather than its classes."""
    return bool(folders) and {name.lower() for name in folders} <= {*_TRAINING, *_EVALUATION}


def evaluation_split(folders: Collection[str]) -> str | None:
    """The split to evaluate, where all `folders` are splits; None where they are not, or only train."""
    if not only_splits(folders):
        return None
    by_name = {name.lower(): name for name in sorted(folders)}
    return next((by_name[split] for split in _EVALUATION if split in by_name), None)


def normal(name: str) -> str:
    """A member's name in an archive without `./` and doubled slashes; folders keep the slash at their end.

    Raises DataError for a name that points out of the archive.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DataError(f"holds '{one_line(name, 80)}', a name that points out of the archive")
    return "/".join(parts) + ("/" if name.endswith("/") else "")


def arrange(names: Iterable[str]) -> Tree:
    """Find the class folders among the names of an archive's members; folders end in a slash.

    What is wrapped in one folder is unwrapped. Of a set's splits `val` is taken, or `test`; never `train`.
    Raises DataError, without saying where, when there are no class folders or no images in them.
    """
    paths = [tuple(name.split("/")) for name in names]
    paths = [path for path in paths if all(visible(part) for part in path)]
    folder: list[str] = []
    part = ""
    while True:
        tops = {path[0] for path in paths if len(path) > 1}
        inner = evaluation_split(tops) if only_splits(tops) else next(iter(tops), None)
        if len(tops) > 1 and not only_splits(tops):
            break
        below = [path[1:] for path in paths if path[0] == inner and path[1:]]
        if inner is None or not _deep(below):
            break
        part = inner if only_splits(tops) else part
        folder.append(inner)
        paths = below
    classes = in_order({path[0] for path in paths if len(path) > 1 and path[0]})
    place = {name: label for label, name in enumerate(classes)}
    images = [path for path in paths if is_image(path[-1])]
    inside = sorted((place[p[0]], "/".join(p[:-1]), p[-1]) for p in images if len(p) > 1)
    if not inside:
        raise DataError(_nothing(images, classes))
    if only_splits(tops):
        raise DataError(f"{', '.join(sorted(tops))}: a training part alone, or parts without class folders")
    return Tree(
        folder="".join(f"{above}/" for above in folder),
        part=part,
        classes=tuple(classes),
        names=tuple(f"{above}/{name}" for _, above, name in inside),
        labels=tuple(label for label, _, _ in inside),
        left_out=Counter(suffix(path[-1]) for path in paths if len(path) > 1 and _is_other(path[-1])),
    )


def _is_other(name: str) -> bool:
    return name != "" and not is_image(name)


def _deep(paths: Iterable[tuple[str, ...]]) -> bool:
    """Whether images lie in class folders here, and none beside those."""
    depths = {len(path) for path in paths if is_image(path[-1])}
    return bool(depths) and min(depths) > 1


def _nothing(loose: Collection[tuple[str, ...]], classes: Collection[str]) -> str:
    if loose:
        return (
            f"{len(loose)} images but no class folders; a dataset is <class>/<image>, and the"
            f" folders' names are the classes"
        )
    if classes:
        return f"{len(classes)} class folders, but no image ({' '.join(SUFFIXES)}) in them"
    return "holds no class folders"


def shown(names: Iterable[str]) -> tuple[str, ...]:
    """Names of strangers as they may be printed."""
    return tuple(printable(name) for name in names)
