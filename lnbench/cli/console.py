"""What a person at the terminal sees besides tables and progress: notes, warnings, a plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lnbench.progress import stderr

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from lnbench.evaluate.evaluation import Plan


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def note(text: str) -> None:
    stderr().print(text, style="dim", markup=False)


def warn(text: str) -> None:
    stderr().print(f"warning: {text}", style="yellow", markup=False)


def show_plan(plan: Plan, places: Sequence[Path]) -> None:
    """What `--dry-run` says."""
    console = stdout()
    for name, folder in zip(plan.subjects, places, strict=True):
        console.print(f"{name} → {folder}", markup=False)
    console.print(
        f"{plan.conditions} conditions, {plan.cells} cells, {plan.images:,} images, "
        f"{plan.forwards:,} forward passes; images take {plan.store_bytes / 2**20:,.0f} MiB",
        markup=False,
    )
