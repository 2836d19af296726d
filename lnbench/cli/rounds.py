"""What `evaluate` does about rounds: when to end, what to show of a run that was interrupted, the gate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lnbench.config import RunConfig
    from lnbench.evaluate.evaluation import Outcome
    from lnbench.evaluate.rounds import Asked


def asked(
    rounds: bool, until: Sequence[str], against: Path | None, margin: str | None, runs: Sequence[RunConfig]
) -> Asked | None:
    """What the options say of rounds, None where they say nothing. UsageError where that cannot be."""
    from lnbench.errors import UsageError
    from lnbench.results import gate
    from lnbench.results.correct import read_correct
    from lnbench.results.reading import read
    from lnbench.results.rules import parse_loss
    from lnbench.results.until import parse

    if margin is not None and against is None:
        raise UsageError("--margin is for --against")
    if not (rounds or until or against):
        return None
    targets = tuple(parse(text) for text in until)
    loss = gate.MARGIN if margin is None else parse_loss(margin, "--margin")
    if against is not None and len(runs) > 1:
        raise UsageError("--against takes one checkpoint and one seed")

    from lnbench.evaluate import cut
    from lnbench.evaluate.rounds import Against, Asked

    for run in runs:
        cut.check(run)
    if against is None:
        return Asked(targets)
    base = read(against)
    return Asked(targets, Against(base, read_correct(against, base), loss))


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
