"""YAML from anybody as plain data: names, numbers, lists and mappings, of bounded size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lnbench.errors import UsageError
from lnbench.files import one_line, opened

_MOST_BYTES = 1 << 20
_MOST_DIGITS = 40

Kind = TypeVar("Kind", dict[str, Any], list[Any])


class _PlainLoader(yaml.SafeLoader):
    """Plain data without aliases: a few hundred bytes of nested aliases can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        times = Counter(str(key.value) for key, _ in node.value)
        if double := [key for key, count in times.items() if count > 1]:
            raise yaml.YAMLError(f"key given twice: {min(double)}")
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """What stands for a number is short: long ones take time that grows with the square."""
        if len(node.value) > _MOST_DIGITS:
            raise yaml.YAMLError(f"a number of {len(node.value)} digits")
        is_whole = node.tag.endswith(":int")
        number: int | float = self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)
        return number


for _kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.construct_number)


def read_yaml(path: Path, where: str, kind: type[Kind]) -> Kind:
    """The mapping or list in a file, `where` naming it in errors. Raises UsageError."""
    with opened(path, UsageError) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{where}: larger than 1 MiB; it should be names and numbers only")
    try:
        data = yaml.load(content, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeDecodeError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        why = one_line(getattr(error, "problem", None) or str(error).split("\n")[0], 200)
        raise UsageError(f"{where}: not valid YAML{line}: {why}") from None
    if not isinstance(data, kind):
        wanted = "a mapping of names to values" if kind is dict else "a list"
        raise UsageError(f"{where}: expected {wanted}, found {type(data).__name__}")
    return data
