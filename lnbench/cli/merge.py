"""`lnbench merge`: the shards of a run joined into one record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    out: Annotated[Path, typer.Argument(help="Run folder to write.", metavar="OUT")],
    shards: Annotated[
        list[Path], typer.Argument(help="Run folders of all shards, in any order.", metavar="SHARD...")
    ],
) -> None:
    """Join the run folders of `evaluate --shard i/n` into the one an undivided run would have written."""
    from lnbench.cli.console import note, stdout
    from lnbench.cli.values import command
    from lnbench.results.merge import merge as join
    from lnbench.results.render import terminal

    record = join(out, shards, command=command())
    terminal.show([record], stdout())
    note(f"saved in {out}")
