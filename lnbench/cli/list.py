"""`lnbench list`: what exists, one line each."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from lnbench.cli import options


class What(str, Enum):
    """The kinds of thing that have names."""

    corruptions = "corruptions"
    modes = "modes"
    presets = "presets"
    models = "models"
    data = "data"


def list_(
    what: Annotated[What, typer.Argument(help="Which kind of thing to list.")],
    plugin: options.Plugin = None,
) -> None:
    """Show what exists: corruptions, modes, presets, models or kinds of data."""
    from lnbench.cli import plugins
    from lnbench.cli.console import stdout

    plugins.run(plugin)
    rows = {
        What.corruptions: _corruptions,
        What.modes: _modes,
        What.presets: _presets,
        What.models: _models,
        What.data: _data,
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


def _data() -> list[tuple[str, str]]:
    from lnbench.data.registry import sources

    return [(each.usage, each.about) for each in sources().values()]
