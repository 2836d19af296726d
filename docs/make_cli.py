"""Write docs/cli.md from the commands themselves: `python docs/make_cli.py`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

Generated from the commands by `python docs/make_cli.py`; a test fails when it is stale.

Exit codes: 0 done; 1 `compare` found a regression; 2 wrong usage; 3 the job could not be done (a bad
checkpoint, data or file: one line says what, where and what to do); 130 interrupted (143 by SIGTERM, 129
by SIGHUP), with what is finished saved. A reader that goes away (`| head`) changes no exit code; an output
that the system refuses to take is a 3, but for `compare`, whose exit code is its verdict.
`LNBENCH_TRACEBACK=1` shows where an internal error came from.
"""


def render() -> str:
    """The whole page as Markdown."""
    from lnbench.cli import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return HEAD + "".join(_command(name, command) for name, command in commands.items())


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = (
        f"lnbench {name}"
        + "".join(f" {_placeholder(p)}" for p in arguments)
        + (" [OPTIONS]" if options else "")
    )
    lines = [f"\n## `lnbench {name}`\n", inspect.cleandoc(command.help or ""), f"\n    {usage}\n"]
    if arguments or options:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{_placeholder(p)}` | {_cell(p)} |" for p in arguments]
        for panel in dict.fromkeys(p.rich_help_panel for p in options):
            lines += [f"| **{panel}** | |"] if panel else []
            lines += [
                f"| `{'`, `'.join([*p.opts, *p.secondary_opts])}` | {_cell(p)} |"
                for p in options
                if p.rich_help_panel == panel
            ]
    return "\n".join(lines) + "\n"


def _placeholder(param: Any) -> str:
    name = (param.metavar or param.name).upper()
    many = "…" if param.nargs == -1 else ""
    return f"{name}{many}" if param.required else f"[{name}{many}]"


def _cell(param: Any) -> str:
    text = (param.help or "").replace("|", "\\|")
    default = param.default
    shown = default not in (None, "", [], ()) and not callable(default)
    if getattr(param, "is_flag", False) and not param.secondary_opts:
        shown = False
    if getattr(param, "is_flag", False) and param.secondary_opts:
        default = (param.opts if default else param.secondary_opts)[0]
    return f"{text} Default: `{getattr(default, 'value', default)}`." if shown else text


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
