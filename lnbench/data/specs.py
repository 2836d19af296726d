"""Data specs, `kind:path[:split]` or a bare path, and what lies behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.manifest import read_manifest
from lnbench.data.registry import Source, find, sources
from lnbench.errors import DataError, UsageError, unknown
from lnbench.files import reason
from lnbench.types import Condition

if TYPE_CHECKING:
    from lnbench.data.store import Listing


@dataclass(frozen=True)
class DataSpec:
    """A dataset by kind and place. `note` says what a bare path was taken for, else it is empty.

    `root`: the folder of the files that a list names, where it is not the list's own.
    """

    kind: str
    path: Path | None
    split: str = "test"
    root: Path | None = None
    note: str = field(default="", compare=False)

    @property
    def source(self) -> Source:
        return find(self.kind)

    @property
    def precomputed(self) -> bool:
        """Whether it holds corrupted images, to be opened condition by condition."""
        return self.source.conditions is not None

    def __str__(self) -> str:
        place = "" if self.path is None else f":{self.path}"
        return f"{self.kind}{place}" + (":train" if self.split == "train" else "")


def parse(text: str, root: str | None = None) -> DataSpec:
    """Read `folder:PATH`, `cifar10:PATH[:train]`, `npz:PATH`, …, `demo[:train]` or a bare path.

    `root`: see `DataSpec`. Raises UsageError for an unknown kind and DataError for a bare path that is
    nothing known.
    """
    return parse_all([text], root)[0]


def parse_all(texts: Sequence[str], root: str | None) -> list[DataSpec]:
    """Read several specs; `root` is that of all lists among them, of which there must be one.

    Raises UsageError; see `parse`.
    """
    found = [_parsed(text) for text in texts]
    if root is None:
        return found
    if not any("root" in spec.source.takes for spec in found):
        raise UsageError(
            f"--root goes with a list of images (list:FILE), not with {' and '.join(map(str, found))}"
        )
    return [rooted(spec, root) for spec in found]


def rooted(spec: DataSpec, root: str | None) -> DataSpec:
    """A spec with the root of its files, where it is a list and a root is given."""
    return spec if root is None or "root" not in spec.source.takes else replace(spec, root=_place(root))


def _parsed(text: str) -> DataSpec:
    if "\0" in text or not text.strip():
        raise UsageError(f"data spec {text!r} is no path")
    kind, colon, rest = text.partition(":")
    if kind not in sources():
        if colon and re.fullmatch(r"[A-Za-z][\w-]+", kind) and not _exists(Path(text)):
            raise unknown("kind of data", kind, sources())
        return _taken(_place(text))
    source, split = find(kind), "test"
    for name in ("train", "test"):
        if "split" in source.takes and (rest == name or rest.endswith(f":{name}")):
            split, rest = name, rest[: -len(name)].removesuffix(":")
    if "path" in source.takes and not rest:
        raise UsageError(f"data spec '{text}' lacks the path: {source.usage}")
    if "path" not in source.takes and rest:
        raise UsageError(f"data spec '{text}': {source.about} has no path, write {source.usage}")
    return DataSpec(kind, _place(rest) if rest else None, split)


def listing(spec: DataSpec, condition: Condition | None = None) -> Listing:
    """What a dataset holds, one condition of it where it is precomputed. Raises DataError, UsageError."""
    if spec.precomputed and condition is None:
        raise UsageError(f"{spec}: is precomputed and has no clean images to corrupt")
    if spec.precomputed:
        _folder(spec)
    given = {"path": spec.path, "split": spec.split, "root": spec.root, "condition": condition}
    try:
        return spec.source.listing(**{name: given[name] for name in spec.source.takes})
    except OSError as error:
        which = "" if condition is None else f" {condition}"
        raise DataError(f"{spec}:{which} cannot be read: {reason(error)}") from error


def conditions(spec: DataSpec) -> tuple[Condition, ...]:
    """The conditions a precomputed set holds, sorted; a partial set lists what is there.

    `clean` is among them where the set brings it. Raises DataError when there are none, or where they do
    not fit each other.
    """
    path, source = _folder(spec), spec.source
    assert source.conditions is not None
    try:
        found = list(source.conditions(path))
    except OSError as error:
        raise DataError(f"{spec}: cannot be listed: {reason(error)}") from error
    manifest = read_manifest(path)
    if manifest is not None:  # an export may have been interrupted within a condition
        found = [condition for condition in found if manifest.has(condition)]
    if not found:
        raise DataError(f"{spec}: holds no conditions; its layout should be {source.layout}")
    return tuple(sorted(found))


def _folder(spec: DataSpec) -> Path:
    if not spec.precomputed or spec.path is None:
        raise ValueError(f"{spec} is not a precomputed set")
    if not spec.path.is_dir():
        raise DataError(f"{spec}: no such folder")
    return spec.path


def _taken(path: Path) -> DataSpec:
    """Resolve a bare path by what lies there."""
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        ranked = sorted(sources().values(), key=lambda source: source.rank)
        found = next((source for source in ranked if source.looks(path)), None)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from error
    if found is None:
        raise DataError(f"{path}: not a dataset; known are {', '.join(sorted(sources()))}")
    return DataSpec(found.kind, path, note=f"took {path} for {found.about} ({found.kind}:{path})")


def _place(text: str) -> Path:
    """The path a person wrote; `~` is theirs to use, but shells leave it alone behind a prefix."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody's home
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a path
        return False
