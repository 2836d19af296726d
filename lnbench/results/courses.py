"""How modes fared along their streams: accuracy from tenth to tenth, what they counted, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lnbench.results.breakdown import series_names
from lnbench.results.schema import Cell, Record
from lnbench.results.tables import percent

REFERENCE = "fixed"


@dataclass(frozen=True)
class Line:
    """A mode along its stream, or `()` where its answers do not depend on one.

    `tenths`: top-1, mean over the cells; `resets`, `recoveries`: where along the stream the mode forgot,
    because it was time or because its predictions had collapsed, 0–1.
    """

    name: str
    tenths: tuple[float, ...] = ()
    resets: tuple[float, ...] = ()
    recoveries: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a mode did and how long it took: `counts` summed over its cells; `time` in times of `fixed`."""

    name: str
    counts: dict[str, float]
    time: float | None


def lines(records: Sequence[Record], labels: Sequence[str] = ()) -> dict[str, list[Line]]:
    """A line for each mode: over all corrupted conditions, then for each condition by itself.

    Empty where no cell says how it went along a stream.
    """
    conditions = dict.fromkeys(c.condition for r in records for c in r.cells if c.course is not None)
    if not conditions:
        return {}
    groups = {"all corrupted conditions": [c for c in conditions if c.is_corrupted]}
    if len(groups["all corrupted conditions"]) < 2:
        groups.clear()
    groups |= {str(condition): [condition] for condition in conditions}
    return {
        title: [
            _line(name, [c for c in record.cells if c.mode == mode and c.condition in group])
            for record, mode, name in series_names(records, labels)
        ]
        for title, group in groups.items()
    }


def _line(name: str, cells: Sequence[Cell]) -> Line:
    courses = [cell.course for cell in cells if cell.course is not None and cell.course.tenths]
    if not courses or len({len(course.tenths) for course in courses}) > 1:
        return Line(name)
    tenths = tuple(
        sum(rates) / len(courses) for rates in zip(*(course.tenths for course in courses), strict=True)
    )
    resets = {row / course.batches for course in courses for row in course.resets}
    recoveries = {row / course.batches for course in courses for row in course.recoveries or ()}
    return Line(name, tenths, tuple(sorted(resets)), tuple(sorted(recoveries)))


def costs(records: Sequence[Record], labels: Sequence[str] = ()) -> list[Cost]:
    """Each mode's counts and its time beside `fixed`, over the conditions that both have a time for."""
    found = []
    for record, mode, name in series_names(records, labels):
        own = [cell for cell in record.cells if cell.mode == mode]
        counts: dict[str, float] = {}
        for cell in own:
            for what, value in (cell.counts or {}).items():
                counts[what] = counts.get(what, 0) + value
        if record.config.get("mixed"):  # the whole stream's are on each of its cells
            counts = next((dict(c.counts) for c in own if c.counts and c.condition.is_corrupted), {})
        found.append(Cost(name, counts, _times(record, own)))
    return found


def _times(record: Record, own: Sequence[Cell]) -> float | None:
    pairs = [
        (cell.seconds, reference.seconds)
        for cell in own
        if (reference := record.cell(REFERENCE, cell.condition)) is not None
        and cell.seconds is not None
        and reference.seconds is not None
    ]
    usual = sum(reference for _, reference in pairs)
    return sum(seconds for seconds, _ in pairs) / usual if usual else None


def cost_table(
    records: Sequence[Record], labels: Sequence[str] = ()
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(what is counted; for each mode its name, first and last tenth, counts, and time in times of `fixed`).

    The tenths are means over corrupted cells, in percent. No rows where no cell depends on a stream.
    """
    whole = lines(records, labels)
    if not whole:
        return [], []
    entries = costs(records, labels)
    names = list(dict.fromkeys(name for entry in entries for name in entry.counts))
    rows = []
    for entry, line in zip(entries, next(iter(whole.values())), strict=True):
        ends = [percent(rate, 1) for rate in (line.tenths[0], line.tenths[-1])] if line.tenths else ["–", "–"]
        counts = ["–" if name not in entry.counts else f"{entry.counts[name]:,.0f}" for name in names]
        rows.append((entry.name, [*ends, *counts, "–" if entry.time is None else f"{entry.time:.2f}"]))
    return names, rows
