"""One pivot for every renderer: rows are corruptions, columns are modes, the headline figures come last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lnbench.results.schema import Interval, Record
from lnbench.results.scores import benchmark_order, severity_means
from lnbench.types import CLEAN

Kind = Literal["corruption", "clean", "mean", "mce", "relative_mce"]
LOWER_IS_BETTER = frozenset({"mce", "relative_mce"})
MARK = "*"  # beside the best of a row, so that it shows without colour and in plain text


@dataclass(frozen=True)
class Row:
    """One line of the table: a fraction for each column (None: not measured or not defined)."""

    name: str
    kind: Kind
    values: tuple[float | None, ...]
    intervals: tuple[Interval | None, ...]
    best: frozenset[int]  # columns that share the best value; empty where there is nothing to choose


@dataclass(frozen=True)
class Pivot:
    """The table. `columns` are modes, or (run, mode) pairs where several runs stand side by side."""

    columns: tuple[tuple[str, str], ...]  # (run label, "" for a single run; mode)
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def headings(self) -> tuple[str, ...]:
        """One text for each column."""
        return tuple(f"{label} · {mode}" if label else mode for label, mode in self.columns)


def pivot(records: Sequence[Record], labels: Sequence[str] = ()) -> Pivot:
    """Lay records out as one table; `labels` name them where there are several.

    Corruption rows hold top-1 as the mean over the severities of the run.
    """
    names = list(labels) if labels else [""] * len(records)
    columns = [(record, label, mode) for record, label in zip(records, names, strict=True)
               for mode in record.suite.modes]  # fmt: skip
    means = [severity_means([c for c in record.cells if c.mode == mode]) for record, _, mode in columns]
    summaries = [record.summary[mode] for record, _, mode in columns]
    none: list[Interval | None] = [None] * len(columns)
    rows = [
        _row(name, "corruption", [mean.get(name) for mean in means], none)
        for name in benchmark_order([c for r in records for c, _ in r.suite.conditions])
    ]
    headline: tuple[tuple[str, Kind, list[float | None], list[Interval | None]], ...] = (
        ("clean", "clean", [s.clean_top1 for s in summaries], [s.clean_interval for s in summaries]),
        (
            "mean",
            "mean",
            [s.mean_corruption_top1 for s in summaries],
            [s.mean_corruption_interval for s in summaries],
        ),
        ("mCE", "mce", [s.mce for s in summaries], none),
        ("relative mCE", "relative_mce", [s.relative_mce for s in summaries], none),
    )
    rows += [_row(*figures) for figures in headline if any(value is not None for value in figures[2])]
    return Pivot(tuple((label, mode) for _, label, mode in columns), tuple(rows), _notes(records, labels))


def _row(name: str, kind: Kind, values: list[float | None], intervals: list[Interval | None]) -> Row:
    present = [value for value in values if value is not None]
    best: frozenset[int] = frozenset()
    if len(present) > 1:
        goal = min(present) if kind in LOWER_IS_BETTER else max(present)
        best = frozenset(i for i, v in enumerate(values) if v is not None and abs(v - goal) < 1e-9)
        if len(best) == len(present):
            best = frozenset()
    return Row(name, kind, tuple(values), tuple(intervals), best)


def _notes(records: Sequence[Record], labels: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know to read the figures, each said once."""
    notes = []
    for number, record in enumerate(records):
        prefix = f"{labels[number]}: " if labels else ""
        sets = dict.fromkeys(s.corruption_set for s in record.summary.values() if s.corruption_set)
        notes += [f"{prefix}top-1 in percent; mean over {text}" for text in sets]
        notes += [prefix + text for text in dict.fromkeys(s.mce_note for s in record.summary.values())]
        missing = len(record.suite.keys) - len(record.cells)
        if missing:
            notes.append(f"{prefix}incomplete: {missing} of {len(record.suite.keys)} cells are missing")
    return tuple(dict.fromkeys(notes))


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction as percent, `–` where there is none: 0.91726 → '91.73'."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def half_width(interval: Interval | None) -> str:
    """An interval as '±1.9', in points: half its width."""
    return "" if interval is None else f"±{50 * (interval[1] - interval[0]):.1f}"


def entry(row: Row, column: int, *, mark: str = MARK) -> str:
    """The text of one cell: value, and the mark on the best of its row."""
    return percent(row.values[column]) + (mark if column in row.best else "")


def clean_rate(record: Record, mode: str) -> float | None:
    """Clean top-1 of a mode, or None where the run has no clean cell."""
    cell = record.cell(mode, CLEAN)
    return None if cell is None else cell.top1
