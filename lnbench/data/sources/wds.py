"""Webdataset shards: tar archives in which the files of one image share a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lnbench.data.registry import source
from lnbench.errors import DataError, UsageError
from lnbench.files import one_line, printable

if TYPE_CHECKING:
    from lnbench.data.archive import Fetch, Slice
    from lnbench.data.store import Listing

_IMAGES = ("jpg", "jpeg", "png", "webp")
_LABELS = ("cls", "json")  # the first that a sample has is read
_KEYS = ("label", "cls", "wnid")  # of a JSON object, in this order
_MAX_LABEL = 1 << 20  # bytes
_MAX_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


class _Sample(NamedTuple):
    fetch: Fetch  # of its shard
    name: str
    image: Slice
    label: int | str


def looks(path: Path) -> bool:
    """Whether the first files of a tar are an image and its label."""
    if not path.name.lower().endswith((".tar", ".tar.gz", ".tgz")) or not path.is_file():
        return False
    from lnbench.data.archive import first_names

    found: dict[str, set[str]] = {}
    for key, field in map(_split, first_names(path, 8)):
        found.setdefault(key, set()).add(field)
    return any(have & set(_IMAGES) and have & set(_LABELS) for have in found.values())


@source(
    "wds",
    about="webdataset shards",
    layout="shard-{000..012}.tar, each with <key>.jpg (png, webp) and <key>.cls (json)",
    looks=looks,
    rank=6,
)
def wds(path: Path) -> Listing:
    """List the samples of shards in their order; `{000..012}` in the path stands for every number.

    The label is the text of `cls`, or `label`, `cls` or `wnid` of the object in `json`: a whole number or a
    name.
    """
    from lnbench.data.encoded import list_encoded
    from lnbench.data.label_values import labels_of
    from lnbench.data.store import file_stamp

    where = f"wds:{path}"
    shards = list(expand(str(path)))
    samples = [sample for shard in shards for sample in _samples(shard)]
    labels, classes, named = labels_of([sample.label for sample in samples], where)
    return list_encoded(
        lambda index: samples[index].fetch(samples[index].image),
        source=where,
        classes=classes,
        labels=labels,
        name=lambda index: printable(samples[index].name),
        stamp=file_stamp(shards),
        named=named,
    )


def expand(text: str) -> Iterator[Path]:
    """The paths that a pattern with `{000..012}` stands for, in order. Raises UsageError."""
    found = _RANGE.search(text)
    if found is None:
        yield Path(text)
        return
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + _MAX_SHARDS:
        raise UsageError(f"wds:{text}: {found[0]} is no range of shards")
    width = len(found[1]) if len(found[1]) == len(found[2]) else 0
    for number in range(first, last + 1):
        yield from expand(f"{text[: found.start()]}{number:0{width}d}{text[found.end() :]}")


def _samples(shard: Path) -> Iterator[_Sample]:
    from lnbench.data.archive import tar_members
    from lnbench.data.decode import Unreadable

    fields: dict[str, dict[str, tuple[str, Slice]]] = {}
    members, fetch = tar_members(shard)
    for name, place in members.items():
        key, field = _split(name)
        fields.setdefault(key, {})[field] = (name, place)
    for key, have in fields.items():
        images = [have[field] for field in _IMAGES if field in have]
        if not images:
            continue  # what describes the shard itself
        given = next((have[field] for field in _LABELS if field in have), None)
        if len(images) > 1 or given is None:
            what = "several images" if len(images) > 1 else "no label (cls or json)"
            raise DataError(f"{shard}: sample '{one_line(key, 80)}' has {what}")
        file_name, lies = given
        try:
            data = b"" if not isinstance(lies, str) and lies[1] > _MAX_LABEL else fetch(lies)
        except Unreadable as error:
            raise DataError(f"{shard}: '{one_line(file_name, 80)}' cannot be read: {error}") from error
        yield _Sample(fetch, *images[0], _label(data, file_name, shard))


def _label(data: bytes, name: str, shard: Path) -> int | str:
    """The label that a member's bytes give. Raises DataError."""
    try:
        text = data.decode().strip()
        if name.lower().endswith(".json"):
            content = json.loads(text)
            value = next(content[key] for key in _KEYS if key in content)
        else:
            value = text
    except (ValueError, TypeError, StopIteration, RecursionError):
        value = None
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(
            f"{shard}: '{one_line(name, 80)}' holds no label: a whole number or a name, in json under"
            f" {', '.join(_KEYS)}"
        )
    return value


def _split(name: str) -> tuple[str, str]:
    """A member's key, its name up to the first dot, and what it is, from its last one."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}", file.rpartition(".")[2].lower()
