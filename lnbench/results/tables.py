"""Figures, changes and decisions as texts, the same for every renderer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lnbench.files import counted
from lnbench.results import until
from lnbench.results.compare import DEFAULT_FIGURES, Change, Comparison
from lnbench.results.gate import Answer, Gate
from lnbench.results.pairing import find_changes
from lnbench.results.protocol import dependence
from lnbench.results.schema import Interval, Record, Summary


def clean_range(summary: Summary) -> Interval | None:
    """The interval of clean accuracy that holds for how the run ended: at any moment where it was early.

    That one reaches as far to either side as to the farther, so that its ± is the one that ended the run.
    """
    return _around(summary.clean_top1, summary.clean_sequence) or summary.clean_interval


def mean_range(summary: Summary) -> Interval | None:
    """Likewise, of the mean over corruptions."""
    found = _around(summary.mean_corruption_top1, summary.mean_corruption_sequence)
    return found or summary.mean_corruption_interval


def _around(figure: float | None, interval: Interval | None) -> Interval | None:
    if figure is None or interval is None:
        return None
    width = until.half_width(figure, interval)
    return figure - width, figure + width


def round_notes(record: Record) -> list[str]:
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
        return f"PASS: no regression in {counted(len(comparison.cells), 'cell')} ({counts})"
    if not comparison.failures:
        cells = counted(len(comparison.cells), "cell")
        return f"UNDECIDED: no regression in the {cells} that both runs have by now ({counts})"
    failures = counted(len(comparison.failures), "failure")
    return f"FAIL: {failures} in {counted(len(comparison.cells), 'cell')} ({counts})"


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
    lines += comparison.unfinished
    lines += [f"mismatch let through: {text}" for text in comparison.mismatches]
    if comparison.mismatches and comparison.missing:
        lines.append(f"not compared: {counted(len(comparison.missing), 'cell')} that only one run has")
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
