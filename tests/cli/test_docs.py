"""The reference page is generated, complete and current."""

from __future__ import annotations

import typer

from docs.make_cli import PAGE, render
from lnbench.cli import app


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "stale: run python docs/make_cli.py"


def test_every_command_and_option_explains_itself() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        for param in command.params:
            assert param.name == "help" or getattr(param, "help", None), f"{name} {param.name}"
