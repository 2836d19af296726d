"""`lnbench list`: what exists, one line each."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class What(str, Enum):
    """The kinds of thing that have names."""

    corruptions = "corruptions"
    modes = "modes"
    presets = "presets"
    models = "models"


def list_(
    what: Annotated[What, typer.Argument(help="Which kind of thing to list.")],
) -> None:
    """Show what exists: corruptions, modes, presets or models."""
    from lnbench.cli.console import stdout

    rows = {
        What.corruptions: _corruptions,
        What.modes: _modes,
        What.presets: _presets,
        What.models: _models,
    }[what]()
    width = max(len(name) for name, _ in rows)
    console = stdout()
    for name, description in rows:
        console.print(f"{name:{width}}  {description}", markup=False, soft_wrap=True)


def _corruptions() -> list[tuple[str, str]]:
    from lnbench.corruptions import registry

    known = [(name, registry.find(name)) for name in registry.names()]
    return [(name, f"{one.family:8} parameters: {', '.join(one.parameters)}") for name, one in known]


def _modes() -> list[tuple[str, str]]:
    from lnbench.norm.modes import registry as modes

    return [(name, modes.describe(name)) for name in modes.names()]


def _presets() -> list[tuple[str, str]]:
    from lnbench import config

    return [(name, config.load_preset(name).description) for name in config.preset_names()]


def _models() -> list[tuple[str, str]]:
    from lnbench.models import catalog

    return catalog.listing()
