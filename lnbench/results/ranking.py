"""Several runs side by side, best first: what a person choosing a checkpoint wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from lnbench.results.pairing import find_mismatches
from lnbench.results.schema import Record, Summary


@dataclass(frozen=True)
class Ranked:
    """One run in one mode. `place` is shared by equal means; None where nothing was measured."""

    place: int | None
    label: str
    mode: str
    summary: Summary


def rank(records: Sequence[Record], labels: Sequence[str] = ()) -> tuple[Ranked, ...]:
    """Every (run, mode) pair ordered by mean corruption top-1, then clean top-1; unmeasured last."""
    names = labels or label(records)
    entries = [
        (name, mode, summary)
        for name, record in zip(names, records, strict=True)
        for mode, summary in record.summary.items()
    ]
    entries.sort(key=lambda entry: _merit(entry[2]), reverse=True)
    ranked: list[Ranked] = []
    for number, (name, mode, summary) in enumerate(entries, 1):
        place: int | None = None if _merit(summary) == UNMEASURED else number
        if ranked and _merit(ranked[-1].summary) == _merit(summary):
            place = ranked[-1].place
        ranked.append(Ranked(place, name, mode, summary))
    return tuple(ranked)


UNMEASURED = (-1.0, -1.0)


def _merit(summary: Summary) -> tuple[float, float]:
    mean, clean = summary.mean_corruption_top1, summary.clean_top1
    return (-1.0 if mean is None else mean, -1.0 if clean is None else clean)


def label(records: Sequence[Record]) -> tuple[str, ...]:
    """A short distinct name for each run: its model, its weights' file, at need a number."""
    specs = {record.model.spec for record in records}
    names = []
    for record in records:
        weights = PurePath(record.model.weights).stem if record.model.weights else ""
        parts = [record.model.spec] if len(specs) > 1 or not weights else []
        names.append(" ".join([*parts, *([weights] if weights else [])]))
    return distinct(names)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, numbered where they repeat."""
    return tuple(
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    )


def disagreements(records: Sequence[Record], labels: Sequence[str]) -> list[str]:
    """Why figures of some runs do not stand beside those of the first: other images, corruptions, seeds."""
    found = []
    for record, name in zip(records[1:], labels[1:], strict=True):
        reasons = [text for text in find_mismatches(records[0], record) if not text.startswith("mode ")]
        first, own = (one.rounds.images if one.rounds else one.data.images for one in (records[0], record))
        if first != own:
            reasons.append(f"{own:,} images counted beside {first:,}")
        if reasons:
            found.append(f"{name} and {labels[0]}: {'; '.join(reasons)}")
    return found
