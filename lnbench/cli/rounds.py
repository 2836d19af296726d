"""What `evaluate` shows of rounds: a run that was interrupted, how one goes on that ended early, the gate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lnbench.evaluate.evaluation import Outcome
    from lnbench.evaluate.rounds import Asked


@contextlib.contextmanager
def shown_if_interrupted() -> Iterator[None]:
    """Show what a run in rounds knew when it was interrupted; the interruption goes on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        outcomes = getattr(interrupt, "outcomes", None)
        if outcomes is None:
            raise
        from lnbench.cli import console

        console.show(outcomes)
        raise (interrupt.__cause__ or interrupt) from None


def decide(asked: Asked | None, outcomes: Sequence[Outcome]) -> None:
    """Say how a run that ended early goes on; show what is certain beside the baseline, exit 1 on a loss."""
    from lnbench.cli.console import note, stdout

    if any(outcome.record.rounds is not None for outcome in outcomes):
        note("the same command with a smaller --until, or without, goes on from here")
    if asked is None or asked.against is None:
        return
    from lnbench.results.render import terminal

    found = asked.against.judge(outcomes[0].record)
    terminal.show_gate(found, stdout())
    if not found.passed:
        raise typer.Exit(1)
