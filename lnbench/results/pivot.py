"""One pivot for every renderer: rows are corruptions, columns are modes, the headline figures come last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lnbench.errors import unknown
from lnbench.files import counted
from lnbench.metrics import METRICS
from lnbench.results.protocol import describe
from lnbench.results.ranking import disagreements
from lnbench.results.schema import Gap, Interval, Record
from lnbench.results.scores import ALEXNET, corrupted_names, severity_means
from lnbench.results.tables import clean_range, draw_notes, figure, mean_range, round_notes
from lnbench.types import CLEAN

Kind = Literal[
    "corruption", "severity", "clean", "mean", "error", "mce", "relative_mce", "shift", "beside", "gap"
]
LOWER_IS_BETTER = frozenset({"error", "mce", "relative_mce", "gap"})
MARK = "*"  # beside the best of a row, so that it shows without colour and in plain text


@dataclass(frozen=True)
class PivotRow:
    """One line of the table: a fraction for each column (None: not measured or not defined)."""

    name: str
    kind: Kind
    values: tuple[float | None, ...]
    intervals: tuple[Interval | None, ...]
    best: frozenset[int]  # columns that share the best value; empty where there is nothing to choose
    unit: str = "%"


@dataclass(frozen=True)
class View:
    """What a table shows: a metric by its name, and whether each severity has a row of its own."""

    metric: str = "top1"
    severities: bool = False

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit if self.metric in METRICS else ""

    @property
    def lower_is_better(self) -> bool:
        return self.metric in METRICS and METRICS[self.metric].better == "lower"

    @property
    def title(self) -> str:
        """`top-1 %`: what stands above the names of the rows."""
        name = METRICS[self.metric].title if self.metric in METRICS else self.metric
        return f"{name} {self.unit}".strip()


@dataclass(frozen=True)
class Pivot:
    """The table. `columns` are modes, or (run, mode) pairs where several runs stand side by side."""

    columns: tuple[tuple[str, str], ...]  # (run label, "" for a single run; mode)
    rows: tuple[PivotRow, ...]
    notes: tuple[str, ...]
    title: str = "top-1 %"

    @property
    def headings(self) -> tuple[str, ...]:
        """One text for each column."""
        return tuple(f"{label} · {mode}" if label else mode for label, mode in self.columns)


def pivot(records: Sequence[Record], labels: Sequence[str] = (), view: View = View()) -> Pivot:
    """Lay records out as one table; `labels` name them where there are several.

    Corruption rows hold top-1, or the metric of the view, as the mean over the severities of the run. Columns
    of runs that are not like for like are not ranked against each other. Raises UsageError for a metric that
    no record has.
    """
    _check_metric(records, view)
    names = list(labels) if labels else [""] * len(records)
    columns = [(record, label, mode) for record, label in zip(records, names, strict=True)
               for mode in record.suite.modes]  # fmt: skip
    unlike = disagreements(records, names)
    runs = [number for number, record in enumerate(records) for _ in record.suite.modes]
    ranked = _Ranked(runs, bool(unlike))
    rows = [
        *_corruption_rows(records, [(record, mode) for record, _, mode in columns], view, ranked),
        *_headline_rows([(record, mode) for record, _, mode in columns], view, ranked),
    ]
    if view.metric == "top1":
        summaries = [record.summary[mode] for record, _, mode in columns]
        for name in dict.fromkeys(name for summary in summaries for name in summary.shifts):
            rows += _shift_rows(name, [summary.shifts.get(name) for summary in summaries], ranked)
    notes = [f"not like for like, so none is the best of all: {text}" for text in unlike]
    notes += _notes(records, labels, view)
    return Pivot(tuple((label, mode) for _, label, mode in columns), tuple(rows), tuple(notes), view.title)


def _check_metric(records: Sequence[Record], view: View) -> None:
    known = dict.fromkeys(name for record in records for cell in record.cells for name in cell.scores)
    if known and view.metric not in known:
        raise unknown("metric", view.metric, known)


def _corruption_rows(
    records: Sequence[Record], columns: Sequence[tuple[Record, str]], view: View, ranked: _Ranked
) -> Iterator[PivotRow]:
    cells = [[cell for cell in record.cells if cell.mode == mode] for record, mode in columns]
    means = [severity_means(own, view.metric) for own in cells]
    none: list[Interval | None] = [None] * len(columns)
    single = [{cell.condition: cell.scores.get(view.metric) for cell in own} for own in cells]
    conditions = sorted({condition for found in single for condition in found})
    for name in corrupted_names(c for r in records for c in r.suite.conditions):
        yield _row(name, "corruption", [mean.get(name) for mean in means], none, ranked, view)
        if view.severities:
            for condition in (each for each in conditions if each.corruption == name):
                values = [found.get(condition) for found in single]
                yield _row(f"{name} {condition.severity:g}", "severity", values, none, ranked, view)


def _headline_rows(columns: Sequence[tuple[Record, str]], view: View, ranked: _Ranked) -> Iterator[PivotRow]:
    """Clean, mean and what is made of them, those that a column has."""
    none: list[Interval | None] = [None] * len(columns)
    headline: list[tuple[str, Kind, list[float | None], list[Interval | None]]]
    if view.metric == "top1":
        summaries = [record.summary[mode] for record, mode in columns]
        mean = [s.mean_corruption_top1 for s in summaries]
        headline = [
            ("clean", "clean", [s.clean_top1 for s in summaries], [clean_range(s) for s in summaries]),
            ("mean", "mean", mean, [mean_range(s) for s in summaries]),
            ("mean error", "error", [_error(record, mode) for record, mode in columns], none),
            ("mCE", "mce", [s.mce for s in summaries], none),
            ("relative mCE", "relative_mce", [s.relative_mce for s in summaries], none),
        ]
    else:
        cells = [[cell for cell in record.cells if cell.mode == mode] for record, mode in columns]
        clean = [
            next((c.scores.get(view.metric) for c in own if c.condition == CLEAN), None) for own in cells
        ]
        means = [list(severity_means(own, view.metric).values()) for own in cells]
        mean = [math.fsum(each) / len(each) if each else None for each in means]
        headline = [("clean", "clean", clean, none), ("mean", "mean", mean, none)]
    for figures in headline:
        if any(value is not None for value in figures[2]):
            yield _row(*figures, ranked, view)


def _shift_rows(name: str, gaps: Sequence[Gap | None], ranked: _Ranked) -> Iterator[PivotRow]:
    """A natural shift, the clean images of its classes with the same outputs left out, and what is lost."""
    none: list[Interval | None] = [None] * len(gaps)
    tops = [None if gap is None else gap.top1 for gap in gaps]
    yield _row(name, "shift", tops, [None if gap is None else gap.interval for gap in gaps], ranked)
    beside = [None if gap is None else gap.clean_top1 for gap in gaps]
    yield _row(f"clean, classes of {name}", "beside", beside, none, ranked)
    yield _row(f"{name} gap", "gap", [None if gap is None else gap.gap for gap in gaps], none, ranked)


def _error(record: Record, mode: str) -> float | None:
    """One less the mean over corruptions, where the preset asks for it."""
    mean = record.summary[mode].mean_corruption_top1
    return 1 - mean if record.config.get("error") and mean is not None else None


@dataclass(frozen=True)
class _Ranked:
    """Which columns may be the best of a row: of all, or each among those of its own run."""

    runs: Sequence[int]  # the number of each column's record
    apart: bool

    def best(self, values: Sequence[float | None], lower: bool) -> frozenset[int]:
        """The columns that share the best value of theirs; none where there is nothing to choose."""
        found: list[int] = []
        for run in set(self.runs) if self.apart else {None}:
            own = {i: v for i, v in enumerate(values) if v is not None and run in (None, self.runs[i])}
            if len(own) < 2:
                continue
            goal = min(own.values()) if lower else max(own.values())
            best = [i for i, v in own.items() if abs(v - goal) < 1e-9]
            found += best if len(best) < len(own) else []
        return frozenset(found)


def _row(
    name: str,
    kind: Kind,
    values: list[float | None],
    intervals: list[Interval | None],
    ranked: _Ranked,
    view: View = View(),
) -> PivotRow:
    lower = kind in LOWER_IS_BETTER or view.lower_is_better
    return PivotRow(name, kind, tuple(values), tuple(intervals), ranked.best(values, lower), view.unit)


def banners(records: Sequence[Record], labels: Sequence[str] = ()) -> list[str]:
    """What must be said before any figure of runs that are not finished."""
    return [
        f"{f'{labels[number]}: ' if labels else ''}{record.standing}; all figures are of these alone"
        for number, record in enumerate(records)
        if record.unfinished
    ]


def _notes(records: Sequence[Record], labels: Sequence[str], view: View) -> tuple[str, ...]:
    """What a reader must know to read the figures, each said once."""
    notes = banners(records, labels)
    for number, record in enumerate(records):
        prefix = f"{labels[number]}: " if labels else ""
        sets = dict.fromkeys(s.corruption_set for s in record.summary.values() if s.corruption_set)
        what = "top-1 in percent" if view.metric == "top1" else view.title.replace(" %", " in percent")
        notes += [f"{prefix}{what}; mean over {text}" for text in sets]
        notes += [prefix + text] if (text := describe(record)) else []
        if _speaks_of_mce(record) and view.metric == "top1":
            notes += [prefix + text for text in dict.fromkeys(s.mce_note for s in record.summary.values())]
        notes += [prefix + text for text in draw_notes(record, "±")]
        notes += [prefix + text for text in round_notes(record)]
        missing = len(record.suite.keys) - len(record.cells)
        if missing and not record.unfinished:
            verb = "is" if missing == 1 else "are"
            of = counted(len(record.suite.keys), "cell")
            notes.append(f"{prefix}incomplete: {missing} of {of} {verb} missing")
    return tuple(dict.fromkeys(notes))


def _speaks_of_mce(record: Record) -> bool:
    """Whether a reader may expect mCE: it is there, or the suite is ImageNet-C's or has its corruptions."""
    if any(summary.mce is not None for summary in record.summary.values()):
        return True
    asked = {corruption for corruption, _ in record.suite.conditions}
    own = (record.suite.preset or "").startswith("imagenet-c")
    return record.suite.baseline is not None and (own or set(ALEXNET) <= asked)


def entry(row: PivotRow, column: int) -> str:
    """The text of one cell: value, and the mark on the best of its row."""
    return figure(row.values[column], row.unit) + (MARK if column in row.best else "")
