"""Class folders: `<class>/**/<image>`, in the order of torchvision's ImageFolder but for numbered classes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lnbench.data.decode import Unreadable
from lnbench.data.encoded import check_size, list_encoded
from lnbench.data.store import Listing
from lnbench.data.tree import SUFFIXES, evaluation_split, in_order, is_image, only_splits, suffix, visible
from lnbench.errors import DataError
from lnbench.files import one_line, printable, reason, regular


@dataclass(frozen=True)
class _File:
    name: str  # relative to the dataset, with forward slashes
    label: int
    size: int
    time: int  # modification time, ns


def list_folder(root: Path, *, source: str | None = None) -> Listing:
    """List a folder of class folders.

    Classes are the folders in alphabetical order, or by number where all are whole numbers; inside a class
    all images at any depth, sorted, links
    followed. Suffixes are those of ImageFolder in upper or lower case. Hidden files and folders (a
    leading dot) are left out. A class folder without images keeps its place. Where `root` holds the splits
    of a dataset, as torchvision's ImageNet does, `val` is taken, or `test`, never `train`; `source` and
    `part` say so. Raises DataError for a folder that is missing, has no classes or no images.
    """
    part = ""
    others: Counter[str] = Counter()
    try:
        classes = class_names(root)
        split = evaluation_split(classes)
        if split is not None and source is None and class_names(root / split):
            root, part = root / split, split
            classes = class_names(root)
        files = [file for label, name in enumerate(classes) for file in _images(root, name, label, others)]
    except OSError as error:
        raise DataError(f"{source or f'folder:{root}'}: cannot be listed: {reason(error)}") from error
    source = source or f"folder:{root}"
    _check(root, source, classes, files)
    return list_encoded(
        lambda index: read_file(root / files[index].name),
        source=source,
        classes=[printable(name) for name in classes],
        labels=[file.label for file in files],
        name=lambda index: printable(files[index].name),
        stamp=_stamp(root, files),
        part=part,
        left_out=others,
    )


def list_images(root: Path) -> Listing:
    """List every image at any depth of a folder, by folder and name, without classes: all labels are 0.

    Raises DataError for a folder that is missing or holds no image.
    """
    source = f"images:{root}"
    others: Counter[str] = Counter()
    try:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        files = list(_images(root, "", 0, others))
    except OSError as error:
        raise DataError(f"{source}: cannot be listed: {reason(error)}") from error
    if not files:
        raise DataError(f"{source}: holds no image ({' '.join(SUFFIXES)})")
    return list_encoded(
        lambda index: read_file(root / files[index].name),
        source=source,
        classes=(),
        labels=[file.label for file in files],
        name=lambda index: printable(files[index].name),
        stamp=_stamp(root, files),
        named=False,
        left_out=others,
    )


def class_names(root: Path) -> list[str]:
    """Names of the class folders under `root`, in label order. Raises DataError."""
    if not root.exists():
        raise DataError(f"{root}: no such folder")
    if not root.is_dir():
        raise DataError(f"{root}: is a file, not a folder of class folders")
    return in_order(entry.name for entry in os.scandir(root) if visible(entry.name) and entry.is_dir())


def read_file(path: Path) -> bytes:
    """The bytes of one image file. Raises `Unreadable`."""
    try:
        with regular(path) as file:
            check_size(os.fstat(file.fileno()).st_size)
            return file.read()
    except OSError as error:
        raise Unreadable(reason(error)) from error


def _images(root: Path, name: str, label: int, others: Counter[str]) -> Iterator[_File]:
    """The images of one class; `others` counts the files beside them, by suffix."""
    for folder, names in sorted(_walk(root / name)):
        others.update(suffix(file) for file in names if visible(file) and not is_image(file))
        inner = Path(folder).relative_to(root)
        for file in sorted(filter(is_image, names)):
            yield _file((inner / file).as_posix(), Path(folder, file), label)


def _walk(top: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, file names) of `top` and all below; links are followed, but not in circles."""
    for folder, subfolders, names in os.walk(top, onerror=_fail, followlinks=True):
        here = os.path.realpath(folder)
        subfolders[:] = [
            sub
            for sub in subfolders
            if visible(sub) and not _contains(os.path.realpath(Path(folder, sub)), here)
        ]
        yield folder, names


def _fail(error: OSError) -> None:
    raise error  # by default os.walk passes over folders it may not list


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _file(name: str, path: Path, label: int) -> _File:
    try:
        status = path.stat()
    except OSError:
        return _File(name, label, -1, 0)  # a dangling link: reading it will say why
    return _File(name, label, status.st_size, status.st_mtime_ns)


def _stamp(root: Path, files: list[_File]) -> str:
    # The place belongs to it: archives unpacked with equal times hold equal names and sizes.
    digest = hashlib.sha256(os.fsencode(root.resolve()))
    for file in files:
        digest.update(os.fsencode(file.name) + f"\0{file.label}\0{file.size}\0{file.time}\n".encode())
    return digest.hexdigest()


def _check(root: Path, source: str, classes: list[str], files: list[_File]) -> None:
    if not classes:
        loose = sum(is_image(entry.name) for entry in os.scandir(root))
        if loose:
            raise DataError(
                f"{source}: {loose} images but no class folders; a dataset is <class>/<image>, and the"
                f" folders' names are the classes (images without labels are images:PATH)"
            )
        raise DataError(f"{source}: holds no class folders")
    if not files:
        raise DataError(
            f"{source}: {len(classes)} class folders, but no image ({' '.join(SUFFIXES)}) in them"
        )
    deep = all(file.name.count("/") > 1 for file in files)
    if (deep and len(classes) == 1) or (only_splits(classes) and (deep or len(classes) > 1)):
        raise DataError(
            f"{source}: the class folders lie one level deeper; did you mean {root / one_line(classes[0])}?"
        )
