"""When a run in rounds is to end, from the words of whoever asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lnbench.config import RunConfig
from lnbench.errors import UsageError
from lnbench.evaluate import cut
from lnbench.evaluate.rounds import Against, Asked
from lnbench.results import gate
from lnbench.results.correct import Correct, read_correct
from lnbench.results.reading import read
from lnbench.results.rules import parse_loss
from lnbench.results.schema import Record
from lnbench.results.until import parse

Baseline = Path | tuple[Record, Correct | None]


def asked(
    rounds: bool,
    until: Sequence[str],
    against: Baseline | None,
    margin: str | None,
    runs: Sequence[RunConfig],
) -> Asked | None:
    """What a person's words say of rounds, None where they say nothing. UsageError where that cannot be.

    RecordError where `against` is the path of no record.
    """
    if margin is not None and against is None:
        raise UsageError("--margin is for --against")
    if not (rounds or until or against is not None):
        return None
    targets = tuple(parse(text) for text in until)
    loss = gate.MARGIN if margin is None else parse_loss(margin, "--margin")
    if against is not None and len(runs) > 1:
        raise UsageError("--against takes one checkpoint and one seed")

    for run in runs:
        cut.check(run)
    if against is None:
        return Asked(targets)
    if isinstance(against, Path):
        base = read(against)
        against = base, read_correct(against, base)
    return Asked(targets, Against(*against, loss))
