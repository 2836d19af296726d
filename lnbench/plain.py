"""YAML from anybody as plain data: names, numbers, lists and mappings, of bounded size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml

from lnbench.errors import UsageError

_MOST_BYTES = 1 << 20

Kind = TypeVar("Kind", dict[str, Any], list[Any])


class _PlainLoader(yaml.SafeLoader):
    """Plain data without aliases: a few hundred bytes of nested aliases can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        double = {key for key in map(str, keys) if [str(k) for k in keys].count(key) > 1}
        if double:
            raise yaml.YAMLError(f"key given twice: {min(double)}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, where: str, kind: type[Kind]) -> Kind:
    """The mapping or list in a file, `where` naming it in errors. Raises UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{where}: cannot read {path}: {error.strerror or error}") from None
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{where}: larger than 1 MiB; it should be names and numbers only")
    try:
        data = yaml.load(content, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeDecodeError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise UsageError(f"{where}: not valid YAML{line}: {why}") from None
    if not isinstance(data, kind):
        wanted = "a mapping of names to values" if kind is dict else "a list"
        raise UsageError(f"{where}: expected {wanted}, found {type(data).__name__}")
    return data
