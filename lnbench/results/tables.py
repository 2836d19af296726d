"""One pivot for every renderer: rows are corruptions, columns are modes, the headline figures come last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lnbench.results.compare import DEFAULT_FIGURES, Change, Comparison
from lnbench.results.gate import Answer, Gate
from lnbench.results.pairing import find_changes
from lnbench.results.protocol import dependence, describe
from lnbench.results.schema import Gap, Interval, Record, Summary
from lnbench.results.scores import corrupted_names, severity_means

Kind = Literal["corruption", "clean", "mean", "error", "mce", "relative_mce", "shift", "beside", "gap"]
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


@dataclass(frozen=True)
class Pivot:
    """The table. `columns` are modes, or (run, mode) pairs where several runs stand side by side."""

    columns: tuple[tuple[str, str], ...]  # (run label, "" for a single run; mode)
    rows: tuple[PivotRow, ...]
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
        for name in corrupted_names(c for r in records for c in r.suite.conditions)
    ]
    headline: tuple[tuple[str, Kind, list[float | None], list[Interval | None]], ...] = (
        ("clean", "clean", [s.clean_top1 for s in summaries], [clean_range(s) for s in summaries]),
        (
            "mean",
            "mean",
            [s.mean_corruption_top1 for s in summaries],
            [mean_range(s) for s in summaries],
        ),
        ("mean error", "error", [_error(record, mode) for record, _, mode in columns], none),
        ("mCE", "mce", [s.mce for s in summaries], none),
        ("relative mCE", "relative_mce", [s.relative_mce for s in summaries], none),
    )
    rows += [_row(*figures) for figures in headline if any(value is not None for value in figures[2])]
    for name in dict.fromkeys(name for summary in summaries for name in summary.shifts):
        rows += _shift_rows(name, [summary.shifts.get(name) for summary in summaries])
    return Pivot(tuple((label, mode) for _, label, mode in columns), tuple(rows), _notes(records, labels))


def clean_range(summary: Summary) -> Interval | None:
    """The interval of clean accuracy that holds for how the run ended: at any moment where it was early."""
    return summary.clean_sequence or summary.clean_interval


def mean_range(summary: Summary) -> Interval | None:
    """Likewise, of the mean over corruptions."""
    return summary.mean_corruption_sequence or summary.mean_corruption_interval


def _shift_rows(name: str, gaps: Sequence[Gap | None]) -> Iterator[PivotRow]:
    """A natural shift, the clean images of its classes with the same outputs left out, and what is lost."""
    none: list[Interval | None] = [None] * len(gaps)
    tops = [None if gap is None else gap.top1 for gap in gaps]
    yield _row(name, "shift", tops, [None if gap is None else gap.interval for gap in gaps])
    beside = [None if gap is None else gap.clean_top1 for gap in gaps]
    yield _row(f"clean, classes of {name}", "beside", beside, none)
    yield _row(f"{name} gap", "gap", [None if gap is None else gap.gap for gap in gaps], none)


def _error(record: Record, mode: str) -> float | None:
    """One less the mean over corruptions, where the preset asks for it."""
    mean = record.summary[mode].mean_corruption_top1
    return 1 - mean if record.config.get("error") and mean is not None else None


def _row(name: str, kind: Kind, values: list[float | None], intervals: list[Interval | None]) -> PivotRow:
    present = [value for value in values if value is not None]
    best: frozenset[int] = frozenset()
    if len(present) > 1:
        goal = min(present) if kind in LOWER_IS_BETTER else max(present)
        best = frozenset(i for i, v in enumerate(values) if v is not None and abs(v - goal) < 1e-9)
        if len(best) == len(present):
            best = frozenset()
    return PivotRow(name, kind, tuple(values), tuple(intervals), best)


def _notes(records: Sequence[Record], labels: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know to read the figures, each said once."""
    notes = []
    for number, record in enumerate(records):
        prefix = f"{labels[number]}: " if labels else ""
        sets = dict.fromkeys(s.corruption_set for s in record.summary.values() if s.corruption_set)
        notes += [f"{prefix}top-1 in percent; mean over {text}" for text in sets]
        notes += [prefix + text] if (text := describe(record)) else []
        notes += [prefix + text for text in dict.fromkeys(s.mce_note for s in record.summary.values())]
        notes += [prefix + text for text in draw_notes(record, "±")]
        notes += [prefix + text for text in _round_notes(record)]
        missing = len(record.suite.keys) - len(record.cells)
        if missing:
            notes.append(f"{prefix}incomplete: {missing} of {len(record.suite.keys)} cells are missing")
    return tuple(dict.fromkeys(notes))


def _round_notes(record: Record) -> list[str]:
    """Of a run that ended early: how many images, why, and what its intervals are."""
    if record.rounds is None:
        return []
    found = record.rounds
    fixed = []
    for mode, summary in record.summary.items():
        parts = (("clean", summary.clean_interval), ("mean", summary.mean_corruption_interval))
        figures = ", ".join(f"{name} {half_width(interval)}" for name, interval in parts if interval)
        fixed += [f"{mode} {figures}"] if figures else []
    meant = f"± of clean and mean: for all {found.of:,} images, at whatever moment one looks (95 %)"
    return [
        f"{found.images:,} of {found.of:,} images: {found.why}",
        f"{meant}; for other images, had their number been fixed: {'; '.join(fixed)}",
    ]


def draw_notes(record: Record, what: str) -> list[str]:
    """What the intervals of modes that draw images, or other figures of theirs, are for."""
    drawn = {cell.mode: cell.drawn for cell in record.cells if cell.drawn}
    alone = ", ".join(mode for mode in record.suite.modes if drawn.get(mode) == 1)
    many = ", ".join(mode for mode in record.suite.modes if drawn.get(mode, 0) > 1)
    notes = [f"{alone}: {what} for the images drawn here; draws=16 covers others too"] if alone else []
    return notes + ([f"{many}: {what} for any images drawn"] if many else [])


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction as percent, `–` where there is none: 0.91726 → '91.73'."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def figure(value: float | None, unit: str) -> str:
    """A score as tables show it: a rate in percent, anything else with three decimals."""
    return percent(value) if unit == "%" or value is None else f"{value:.3f}"


def half_width(interval: Interval | None) -> str:
    """An interval as '±1.9', in points: half its width."""
    return "" if interval is None else f"±{50 * (interval[1] - interval[0]):.1f}"


def entry(row: PivotRow, column: int, *, mark: str = MARK) -> str:
    """The text of one cell: value, and the mark on the best of its row."""
    return percent(row.values[column]) + (mark if column in row.best else "")


CHANGE_HEADINGS = ("base", "new", "points", "95 % interval", "p", "")
ARROWS = {"worse": "▼ worse", "better": "▲ better", "same": "= same"}


def change_entries(change: Change) -> tuple[str, ...]:
    """The texts of one change under `CHANGE_HEADINGS`; points are percentage points."""
    interval = (
        "" if change.interval is None else "{:+.2f} … {:+.2f}".format(*(100 * v for v in change.interval))
    )
    p = "" if change.adjusted is None else f"{change.adjusted:.3f}" if change.adjusted >= 0.001 else "<0.001"
    points = f"{100 * change.difference:+.2f}".replace("-0.00", "+0.00")
    return percent(change.base), percent(change.new), points, interval, p, ARROWS[change.verdict]


def by_loss(changes: Sequence[Change]) -> list[Change]:
    """Changes with the worst first."""
    return sorted(changes, key=lambda change: change.gain)


def outcome(comparison: Comparison) -> str:
    """The decision in a line."""
    counts = ", ".join(f"{comparison.count(v)} {v}" for v in ("worse", "better", "same"))
    if comparison.passed:
        return f"PASS: no regression in {len(comparison.cells)} cells ({counts})"
    many = "" if len(comparison.failures) == 1 else "s"
    return f"FAIL: {len(comparison.failures)} failure{many} in {len(comparison.cells)} cells ({counts})"


def basis(comparison: Comparison) -> list[str]:
    """What the decision rests on, in sentences."""
    lines = [f"fails on: {rule}" for rule in comparison.rules]
    if comparison.cells and (comparison.base.rounds or comparison.new.rounds):
        lines.append(f"on the {comparison.base.cells[0].images:,} images that both runs counted")
    if comparison.seeds > 1:
        lines.append(
            f"means of {comparison.seeds} seeds, each its own noise, order and stream; p and interval: "
            f"Student's t over the seeds' differences; Holm-adjusted; better and worse at "
            f"{comparison.significance:g}"
        )
    elif comparison.tested:
        lines.append(
            "p: exact McNemar for cells and clean, sign flips over images for means; Holm-adjusted; "
            f"better and worse at {comparison.significance:g}"
        )
    else:
        lines.append("no paired test was possible: better and worse go by the plain difference")
    lines += find_changes(comparison.base, comparison.new)
    if comparison.tested and comparison.seeds == 1:
        lines += [*_detectable(comparison), *draw_notes(comparison.new, "p and interval")]
        lines += dependence(comparison.new)
    lines += [f"mismatch let through: {text}" for text in comparison.mismatches]
    if comparison.mismatches and comparison.missing:
        lines.append(f"not compared: {len(comparison.missing)} cells that only one run has")
    return lines


def _detectable(comparison: Comparison) -> list[str]:
    """The losses that this comparison would have found, in a line."""
    modes: dict[str, list[str]] = {}
    for change in comparison.headlines:
        if change.figure in DEFAULT_FIGURES and change.detectable is not None:
            modes.setdefault(change.mode, []).append(f"{change.what} {percent(change.detectable)}")
    found = "; ".join(f"{mode} {', '.join(figures)}" for mode, figures in modes.items())
    return [f"smallest loss found at least 4 times in 5, in points: {found}"] if found else []


POWER_HEADINGS = ("images here", "smallest loss here", "images needed")


def power_entries(change: Change, loss: float) -> tuple[str, ...]:
    """The texts of one tested headline figure under `POWER_HEADINGS`; `loss` is a fraction."""
    if change.churn is None or change.level is None or change.detectable is None:
        return ("–",) * len(POWER_HEADINGS)
    needed = change.churn.needed(loss, change.level)
    images = f"{math.ceil(needed):,}" if math.isfinite(needed) else "more draws"
    return f"{change.churn.images:,}", percent(change.detectable), images


def power_basis(comparison: Comparison, loss: float) -> list[str]:
    """What the answer to `--power` means, in sentences."""
    figures = [change for change in comparison.headlines if change.figure in DEFAULT_FIGURES]
    return [
        f"images needed to find a loss of {percent(loss)} points at least 4 times in 5",
        f"at {comparison.significance:g}, Holm-adjusted over {len(figures)} figures",
        "for runs that differ as these do besides the loss, in images that one gains and the other loses",
    ]


GATE_HEADINGS = ("points", "95 % interval", "images")


def gate_entries(answer: Answer) -> tuple[str, ...]:
    """The texts of one answer under `GATE_HEADINGS`."""
    interval = "{:+.2f} … {:+.2f}".format(*(100 * value for value in answer.interval))
    return f"{100 * answer.difference:+.2f}".replace("-0.00", "+0.00"), interval, f"{answer.seen:,}"


def gate_outcome(answer: Answer, margin: float) -> str:
    """The answer in words."""
    within = f"not worse by more than {100 * margin:.2g}"
    return {"worse": "▼ worse", "within": within, "undecided": "undecided"}[answer.outcome]


def gate_basis(gate: Gate) -> list[str]:
    """What the answers rest on, and the decision, in sentences."""
    of = gate.answers[0].images
    lines = [
        f"of {of:,} images, in the seed's order; points: after so many of them, when it was decided",
        f"all {len(gate.answers)} answers together hold at 95 %, at whatever moment one looks, of this set",
    ]
    lines += [f"{name} is missing" for name in gate.missing[:5]]
    lines += [f"mismatch let through: {text}" for text in gate.mismatches]
    worse, undecided = (sum(a.outcome == kind for a in gate.answers) for kind in ("worse", "undecided"))
    within = f"{len(gate.answers) - worse - undecided} not worse by more than {100 * gate.margin:.2g} points"
    most = max(answer.seen for answer in gate.answers)
    decision = "PASS" if gate.passed else "FAIL"
    return [
        *lines,
        f"{decision}: {worse} worse, {within}, {undecided} undecided, after {most:,} of {of:,} images",
    ]
