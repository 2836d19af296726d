"""What a person at the terminal sees besides tables and progress: notes, warnings, a plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lnbench.files import inert
from lnbench.progress import stderr

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from lnbench.evaluate.evaluation import Outcome
    from lnbench.evaluate.plan import Plan
    from lnbench.results.choice import Choice

LONGEST = 4000  # characters of a line


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def say(text: str) -> None:
    """A line of results that may hold names from anywhere."""
    stdout().print(inert(text, LONGEST), markup=False)


def show_choice(choice: Choice, path: Path) -> None:
    """What `choose` found: its table, the proposal, and what to run next."""
    from lnbench.results.choice import sentences
    from lnbench.results.render import terminal

    terminal.show_choice(choice, stdout())
    for text in sentences(choice, str(path)):
        say(text)


def note(text: str) -> None:
    stderr().print(inert(text, LONGEST), style="dim", markup=False)


def warn(text: str) -> None:
    stderr().print(inert(f"warning: {text}", LONGEST), style="yellow", markup=False)


def show_plan(plan: Plan, places: Sequence[Path]) -> None:
    """What `--dry-run` says."""
    from lnbench.evaluate.plan import sentences

    for subject, folder in zip(plan.subjects, places, strict=True):
        say(f"{subject.name} → {folder}")
    for text in sentences(plan):
        say(text)


def show(outcomes: Sequence[Outcome]) -> None:
    """The tables of finished runs, and where they lie."""
    from lnbench.results.ranking import label
    from lnbench.results.render import terminal

    console = stdout()
    records = [outcome.record for outcome in outcomes]
    labels = label(records) if len(records) > 1 else ()
    terminal.show(records, console, labels)
    terminal.show_sweeps(records, console, labels)
    if labels:
        terminal.show_ranking(records, console, labels)
    for outcome in outcomes:
        note(f"saved in {outcome.folder}")
