"""Commands with the options they have, and odd values: the program is asked, so that none is left out."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

from typer.main import get_command

from lnbench.cli import COMMANDS, app


class Option(NamedTuple):
    """An option as the program has it; `kind` is the name of its type: `int`, `Path`, …"""

    names: tuple[str, ...]
    kind: str
    takes_value: bool
    needed: bool


def options(command: str) -> list[Option]:
    """The options of a command, in its order."""
    return [
        Option((*one.opts, *one.secondary_opts), _kind(command, one.name), not one.is_flag, one.required)
        for one in get_command(app).commands[command].params  # type: ignore[attr-defined]
        if one.param_type_name == "option" and one.name != "help"
    ]


def needs_argument(command: str) -> bool:
    params = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return any(one.required for one in params)


@cache
def _hints(command: str) -> dict[str, Any]:
    return get_type_hints(COMMANDS[command])


def _kind(command: str, name: str) -> str:
    return _innermost(_hints(command)[name]).__name__


def _innermost(hint: Any) -> Any:
    """`list[float] | None` → float."""
    inner = [one for one in get_args(hint) if one is not type(None)]
    return _innermost(inner[0]) if inner else hint
