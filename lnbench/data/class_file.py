"""Files a user writes about classes: a class map (YAML, JSON, CSV), or the names of a network's outputs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from lnbench.data.labels import Combine, Written
from lnbench.errors import DataError
from lnbench.files import one_line, opened

_MAX_YAML = 1 << 20
_MAX_BYTES = 1 << 22  # ten thousand classes with long names


class _Texts(yaml.BaseLoader):
    """Every scalar is the text that stands there (no becomes no, 007 stays 007); aliases are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if len(set(map(str, keys))) < len(keys):
            raise yaml.YAMLError("a label is given twice")
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))


def read_class_map(path: Path) -> Written:
    """Read `label: output` or `label: [output, …]`, outputs by index, wnid or name.

    Several outputs are a superclass, and the file says how they combine: in YAML and JSON `combine: mean` (of
    their softmax) or `combine: largest` stands beside `classes:`, which then holds the labels; in CSV
    (`label,output`, a row for each output) it is a third column `combine`. Raises DataError.
    """
    text = _text(path)
    if path.suffix.lower() == ".csv":
        found, combine = _from_csv(path, text)
    else:
        content = _parsed(path, text)
        if not isinstance(content, dict):
            raise DataError(f"{path}: a class map is 'label: output' lines, not a {type(content).__name__}")
        combine = content.get("combine")
        nested = isinstance(content.get("classes"), dict)
        if nested and (odd := [key for key in content if key not in ("classes", "combine")]):
            raise DataError(
                f"{path}: key '{one_line(odd[0], 60)}' beside 'classes' and 'combine' is not known"
            )
        labels = content["classes"] if nested else content
        found = {str(label): _outputs(path, label, value) for label, value in labels.items()}
        if not nested:
            combine = None
    if combine is not None and combine not in get_args(Combine):
        raise DataError(f"{path}: combine is mean or largest, not '{one_line(combine, 60)}'")
    if not found:
        raise DataError(f"{path}: a class map without a label")
    return Written(found, cast("Combine | None", combine), str(path))


def read_classes(path: Path) -> tuple[tuple[str, ...], ...]:
    """Names of a network's outputs in order, one a line, or a JSON or YAML list. Raises DataError."""
    text = _text(path)
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        content = _parsed(path, text)
        if not isinstance(content, list) or not all(isinstance(name, str | int) for name in content):
            raise DataError(f"{path}: expected a list of class names, in the order of the network's outputs")
        names = [str(name) for name in content]
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path}: no class names in it")
    return tuple((name,) for name in names)


def _text(path: Path) -> str:
    with opened(path, DataError) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path}: larger than 4 MiB; it should hold names and numbers only")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None


def _parsed(path: Path, text: str) -> Any:
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_once)
        if len(text) > _MAX_YAML:  # which takes 5 µs a character
            raise DataError(f"{path}: larger than 1 MiB; write it as JSON or CSV")
        return yaml.load(text, _Texts)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or error
        raise DataError(f"{path}: cannot be parsed{line}: {one_line(why, 160)}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a label is given twice")
    return dict(pairs)


def _outputs(path: Path, label: object, value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str | int) and not isinstance(each, bool) for each in values):
        where = f"{path}: label '{one_line(label, 60)}'"
        raise DataError(f"{where}: an output is an index, a wnid or a name, or a list of them")
    return tuple(str(each).strip() for each in values)


def _from_csv(path: Path, text: str) -> tuple[Mapping[str, tuple[str, ...]], str | None]:
    try:
        rows = [[field.strip() for field in row] for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise DataError(f"{path}: no readable CSV: {one_line(error, 160)}") from None
    if rows and [field.lower() for field in rows[0][:2]] == ["label", "output"]:
        rows = rows[1:]
    found: dict[str, tuple[str, ...]] = {}
    said = set()
    for number, row in enumerate(rows, 1):
        if len(row) not in (2, 3) or not row[0] or not row[1]:
            raise DataError(f"{path}: row {number} is not label,output or label,output,combine")
        found[row[0]] = (*found.get(row[0], ()), row[1])
        said |= {row[2]} if row[2:] and row[2] else set()
    if len(said) > 1:
        raise DataError(
            f"{path}: one way to combine outputs, not {' and '.join(sorted(map(one_line, said)))}"
        )
    return found, said.pop() if said else None
