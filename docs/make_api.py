"""Write docs/api.md from the public names' docstrings: `python docs/make_api.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("api.md")
TOUR = Path(__file__).with_name("api-tour.md")
BELOW = """
# Reference

Generated from the docstrings by `python docs/make_api.py`; a test fails when it is stale, and every example
is run. Names that are not on this page are private, whatever module they are in. Errors are those of
`lnbench.errors`, each with one line that says what, where and what to do: `LnbenchError`, and of its kind
`UsageError`, `CheckpointError`, `ModelError`, `DataError` and `RecordError`.
"""


def render() -> str:
    """The whole page as Markdown: the tour, then a section for each public name."""
    import lnbench
    from lnbench.testing import assert_no_regression

    names = [name for name in lnbench.__all__ if name != "__version__"]
    ordered = sorted(names, key=lambda name: (not inspect.isfunction(getattr(lnbench, name)), name))
    sections = [_section(name, getattr(lnbench, name)) for name in ordered]
    sections.append(_section("testing.assert_no_regression", assert_no_regression))
    return TOUR.read_text(encoding="utf-8") + BELOW + "".join(sections)


def _section(name: str, thing: Any) -> str:
    if not inspect.isclass(thing):
        return f"\n## `lnbench.{name}`\n\n{_signature(name.rpartition('.')[2], thing)}\n{_text(thing)}"
    parts = [f"\n## `lnbench.{name}`\n\n"]
    if ("__init__" in vars(thing) and vars(thing)["__init__"].__doc__) or name == "LocalNorm2d":
        parts.append(_signature(name, thing) + "\n")
    parts.append(_text(thing))
    for member, value in _members(thing):
        if isinstance(value, property):
            parts.append(f"\n### `{name}.{member}`\n\n{_text(value)}")
        else:
            function = getattr(thing, member)
            parts.append(
                f"\n### `{name}.{member}`\n\n{_signature(f'{name}.{member}', function)}\n{_text(value)}"
            )
    return "".join(parts)


def _members(thing: Any) -> Iterator[tuple[str, Any]]:
    for member, value in vars(thing).items():
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not member.startswith("_") and value.__doc__ and (isinstance(value, property) or callable(value)):
            yield member, value


def _signature(name: str, thing: Any) -> str:
    parameters = [
        one.replace(annotation=_annotation(one.annotation))
        for one in inspect.signature(thing).parameters.values()
        if one.name != "self"
    ]
    texts, star = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not star:
            texts.append("*")
            star = True
        kind = "" if one.annotation is one.empty else f": {one.annotation}"
        value = getattr(one.default, "__name__", repr(one.default))
        default = "" if one.default is one.empty else f" = {value}"
        texts.append(
            {one.VAR_KEYWORD: "**", one.VAR_POSITIONAL: "*"}.get(one.kind, "") + one.name + kind + default
        )
    whole = f"{name}({', '.join(texts)})"
    if len(whole) > 100:
        whole = f"{name}(\n" + "".join(f"    {text},\n" for text in texts) + ")"
    return f"```python\n{whole}\n```\n"


def _annotation(annotation: Any) -> Any:
    return (
        annotation
        if isinstance(annotation, str) or annotation is inspect.Parameter.empty
        else str(annotation)
    )


def _text(thing: Any) -> str:
    """A docstring as Markdown: lists of arguments and errors, examples as code."""
    lines, out, inside = inspect.cleandoc(thing.__doc__ or "").split("\n"), [], ""
    for line in lines:
        if line in ("Args:", "Raises:", "Example:"):
            out.append(f"**{line[:-1]}**" + ("" if line == "Example:" else "\n"))
            inside = line
            if line == "Example:":
                out.append("\n```pycon")
        elif inside == "Example:" and line.startswith("    "):
            out.append(line[4:])
        elif inside in ("Args:", "Raises:") and line.startswith("    "):
            item = re.match(r"    (\*{0,2}\w[\w, ]*): (.*)", line)
            out.append(f"- `{item[1]}`: {item[2]}" if item else f"  {line.strip()}")
        else:
            if inside == "Example:":
                out.append("```")
            inside = "" if line else inside
            out.append(line)
    if inside == "Example:":
        out.append("```")
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
