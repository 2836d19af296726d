"""Lists of images: a text file that names each image and its label, and a folder that they lie in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import source
from lnbench.errors import DataError
from lnbench.files import one_line, opened, printable, reason

if TYPE_CHECKING:
    from lnbench.data.store import Listing

Row = tuple[str, str]  # path and label

_MAX_BYTES = 1 << 28  # ImageNet's 1.3 million training images take 70 MB
_PATHS, _LABELS = ("path", "file", "filename", "image"), ("label", "wnid", "class", "target")


def looks(path: Path) -> bool:
    """Whether a file is a list by its name."""
    return path.suffix.lower() in (".txt", ".csv", ".tsv", ".lst") and path.is_file()


@source(
    "list",
    about="a list of images and labels",
    layout="<path> <label> lines, or CSV with the header path,label",
    looks=looks,
    rank=8,
)
def image_list(path: Path, root: Path | None) -> Listing:
    """List images by a text file, in its order, with `<path> <label>` or `<path><tab><label>` lines.

    A label is a whole number, or a name (a wnid); lines of paths alone take the folder each image lies in. A
    CSV file has a header with `path` and `label`. Paths are below `root`, the list's own folder where None.
    """
    from lnbench.data.encoded import list_encoded
    from lnbench.data.folder import read_file
    from lnbench.data.label_values import labels_of

    where = f"list:{path}"
    rows = _rows(path, where)
    folder = path.parent if root is None else root
    files = [folder / name for name, _ in rows]
    labels, classes, named = labels_of([label for _, label in rows], where)
    return list_encoded(
        lambda index: read_file(files[index]),
        source=where if root is None else f"{where} in {root}",
        classes=classes,
        labels=labels,
        name=lambda index: printable(rows[index][0]),
        stamp=_stamp(files, rows, where, folder),
        named=named,
    )


def _rows(path: Path, where: str) -> list[Row]:
    text = _text(path)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{where}: names no images")
    header = [name.strip().lower() for name in lines[0][1].split(",")]
    if path.suffix.lower() == ".csv" or {"path", "label"} <= set(header):
        return list(_from_csv(text, header, where))
    if all(_is_path(line) and Path(line.strip()).parent.name for _, line in lines):
        return [(line.strip(), Path(line.strip()).parent.name) for _, line in lines]
    return [_row(line, f"{where}, line {number}") for number, line in lines]


def _text(path: Path) -> str:
    with opened(path, DataError) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES or b"\0" in content:
        raise DataError(f"{path}: no list of images, which is text")
    return content.decode("utf-8-sig", "surrogateescape")


def _is_path(line: str) -> bool:
    from lnbench.data.tree import SUFFIXES

    return "\t" not in line.strip() and line.strip().lower().endswith(SUFFIXES)


def _row(line: str, where: str) -> Row:
    fields = [part.strip() for part in line.split("\t")] if "\t" in line.strip() else line.rsplit(None, 1)
    if len(fields) < 2 or not fields[0] or not fields[1] or _is_path(fields[1]):
        raise DataError(f"{where}: no '<path> <label>': '{one_line(line, 80)}'")
    return fields[0].strip(), fields[1]


def _from_csv(text: str, header: list[str], where: str) -> Iterable[Row]:
    import csv
    import io

    places = [next((header.index(n) for n in names if n in header), None) for names in (_PATHS, _LABELS)]
    if places[0] is None or places[1] is None:
        raise DataError(f"{where}: a CSV list begins with a header that has the columns path and label")
    reader = csv.reader(io.StringIO(text))
    try:
        for fields in list(reader)[1:]:
            if not any(fields):
                continue
            if len(fields) <= max(places[0], places[1]) or not fields[places[0]] or not fields[places[1]]:
                raise DataError(f"{where}: a row without path or label: '{one_line(','.join(fields), 80)}'")
            yield fields[places[0]].strip(), fields[places[1]].strip()
    except csv.Error as error:
        raise DataError(f"{where}: no readable CSV ({reason(error)})") from error


def _stamp(files: list[Path], rows: list[Row], where: str, folder: Path) -> str:
    """Changes with the list and with each file's size and time; DataError where none of them is there."""
    import hashlib
    import os

    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    found = 0
    for file, row in zip(files, rows, strict=True):
        size, time = -1, 0
        try:
            status = file.stat()
            size, time = status.st_size, status.st_mtime_ns
            found += 1
        except (OSError, ValueError):  # reading it will say why
            pass
        digest.update("\0".join((*row, str(size), f"{time}\n")).encode("utf-8", "surrogateescape"))
    if not found:
        raise DataError(
            f"{where}: none of its {len(files)} files is in {folder} ('{one_line(rows[0][0], 80)}');"
            f" say where they lie with --root DIR"
        )
    return digest.hexdigest()
