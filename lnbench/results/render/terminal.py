"""Tables on a terminal, through rich: fit for 80 columns, for pipes and for eyes without colour."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lnbench.files import inert
from lnbench.results import header
from lnbench.results.choice import Choice
from lnbench.results.compare import DEFAULT_FIGURES, Change, Comparison
from lnbench.results.gate import Gate
from lnbench.results.pivot import MARK, Pivot, View, banners, entry, pivot
from lnbench.results.ranking import rank
from lnbench.results.schema import Record
from lnbench.results.sweeps import curves, sweeps
from lnbench.results.tables import (
    CHANGE_HEADINGS,
    GATE_HEADINGS,
    POWER_HEADINGS,
    basis,
    by_loss,
    change_entries,
    gate_basis,
    gate_entries,
    gate_outcome,
    half_width,
    mean_range,
    outcome,
    percent,
    power_basis,
    power_entries,
)
from lnbench.types import CLEAN

NAME_WIDTH = 17  # elastic_transform
MODE_WIDTH = 9  # 100.00* with room beside it; longer mode names fold
GAP = 2
BAR, BAR_WIDTH = "█", 30  # of 100 %
COMFORTABLE = 72  # below this width a comparison shows points and p alone
ROWS = 20  # of changed cells, and of failures: a screen of each
ASCII = {
    "–": "-",
    "±": "+-",
    "·": "-",
    "×": "x",
    "…": "..",
    "→": "->",
    "▼ ": "",
    "▲ ": "",
    "= ": "",
    BAR: "#",
}


def show(
    records: Sequence[Record], console: Console, labels: Sequence[str] = (), view: View = View()
) -> None:
    """Print the pivot of `records`; where the columns do not fit the width, several tables follow."""
    grid = pivot(records, labels, view)
    for text in banners(records, labels):
        say(text if labels else text[0].upper() + text[1:], console, "bold yellow")
    for table in tables(grid, console):
        console.print(table)
    for note in grid.notes:
        console.print(Text(encodable(inert(note), console)), style="dim")


def show_sweeps(records: Sequence[Record], console: Console, labels: Sequence[str] = ()) -> None:
    """Print clean and mean accuracy along every option that a run sweeps, with a bar for the mean."""
    for number, record in enumerate(records):
        for sweep in sweeps(record.suite.modes):
            figures = curves(record, sweep)
            table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
            name = f"{labels[number]} · {sweep.name}" if labels else sweep.name
            table.add_column(Text(encodable(inert(name), console)), overflow="fold")
            for heading in ("clean", "mean"):
                table.add_column(heading, justify="right", no_wrap=True)
            table.add_column("", no_wrap=True)
            for value, clean, mean in zip(sweep.values, figures["clean"], figures["mean"], strict=True):
                bar = BAR * round(BAR_WIDTH * (mean or 0))
                best = mean is not None and mean == max(m for m in figures["mean"] if m is not None)
                cells = (f"{value:g}", percent(clean), percent(mean) + (MARK if best else " "), bar)
                table.add_row(
                    *(Text(encodable(cell, console), style="bold" if best else "") for cell in cells)
                )
            console.print()
            console.print(table)


def show_choice(choice: Choice, console: Console) -> None:
    """Print what every candidate of `lnbench choose` did, the proposed one in bold."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("mode", overflow="fold")
    corrupted = choice.figures[0].corrupted is not None
    for heading in ("clean", *(("corrupted", "gain") if corrupted else ()), "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in choice.figures:
        chosen = one.mode == choice.chosen.mode
        cells = [one.mode, percent(one.clean)]
        cells += [percent(one.corrupted), one.gained] if corrupted else []
        cells += [f"{one.time:.2f}" + (MARK if chosen else " ")]
        style = "bold" if chosen else ""
        table.add_row(*(Text(encodable(inert(cell), console), style=style) for cell in cells))
    console.print(table)
    console.print()


def tables(grid: Pivot, console: Console) -> list[Table]:
    """The pivot as rich tables, as many columns in each as the width holds."""
    fit = max(1, (console.width - NAME_WIDTH) // (MODE_WIDTH + GAP))
    count = len(grid.columns)
    parts = -(-count // fit)
    share = -(-count // parts)
    starts = range(0, count, share)
    return [_table(grid, range(start, min(start + share, count)), console) for start in starts]


def _table(grid: Pivot, columns: range, console: Console) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column(Text(encodable(inert(grid.title), console)), min_width=NAME_WIDTH, overflow="fold")
    room = max(MODE_WIDTH, (console.width - NAME_WIDTH - GAP) // len(columns) - GAP)
    for column in columns:
        heading = fold(encodable(inert(grid.headings[column]), console), room)
        table.add_column(Text(heading), justify="right", min_width=MODE_WIDTH, overflow="fold")
    for row in grid.rows:
        cells = []
        for column in columns:
            best = column in row.best
            shown = entry(row, column) + ("" if best else " ")
            cells.append(Text(encodable(shown, console), style="bold" if best else ""))
        table.add_row(Text(encodable(inert(row.name), console)), *cells)
        if any(row.intervals[column] for column in columns):
            widths = [encodable(half_width(row.intervals[column]), console) + " " for column in columns]
            table.add_row("", *(Text(text, style="dim") for text in widths))
    return table


def fold(name: str, room: int) -> str:
    """A mode's name in lines of at most `room`, broken after ':' and ',' where that is possible, else '='."""
    lines = [""]
    for piece in re.split(r"(?<=[:,])|(?<= ·) ", name):
        for part in [piece] if len(piece) <= room else re.split(r"(?<==)", piece):
            if lines[-1] and len(lines[-1]) + len(part) > room:
                lines.append("")
            lines[-1] += part
    return "\n".join(line[start : start + room] for line in lines for start in range(0, len(line), room))


def encodable(text: str, console: Console) -> str:
    """`text` as this terminal can show it: as it is, or in ASCII."""
    if console.encoding.lower().startswith("utf"):
        return text
    for sign, replacement in ASCII.items():
        text = text.replace(sign, replacement)
    return text.encode("ascii", "replace").decode("ascii")


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the headline figures, the cells that changed (worst first, at most `ROWS`), and the decision."""
    changed = by_loss([c for c in comparison.cells if c.verdict != "same" and c.condition != CLEAN])
    worse = [change for change in changed if change.verdict == "worse"][: ROWS - ROWS // 4]
    shown = worse + changed[max(len(worse), len(changed) - (ROWS - len(worse))) :]
    if comparison.headlines or shown:
        console.print(_changes([*comparison.headlines, *shown], console))
    if len(shown) < len(changed):
        say(f"{len(changed) - len(shown)} more cells changed; --markdown FILE lists all", console, "dim")
    for line in basis(comparison):
        say(line, console, "dim")
    for failure in comparison.failures[:ROWS]:
        say(f"- {failure.text}", console)
    if len(comparison.failures) > ROWS:
        say(f"- and {len(comparison.failures) - ROWS} more", console)
    say(outcome(comparison), console, "bold")


def _changes(changes: Sequence[Change], console: Console) -> Table:
    """Headline figures and cells under a heading for each mode; narrow terminals get fewer columns."""
    columns = [0, 1, 2, 3, 4] if console.width >= COMFORTABLE else [2, 4]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("", overflow="fold", min_width=NAME_WIDTH)
    for column in columns:
        table.add_column(
            encodable(CHANGE_HEADINGS[column], console), justify="right", no_wrap=True, overflow="crop"
        )
    table.add_column("", no_wrap=True, overflow="crop")
    styles = {"worse": "bold", "better": "", "same": "dim"}
    for mode in dict.fromkeys(change.mode for change in changes):
        table.add_row(Text(encodable(inert(mode), console), style="bold"))
        for change in changes:
            if change.mode == mode:
                entries = change_entries(change)
                texts = [f"  {inert(change.what)}", *(entries[column] for column in columns), entries[-1]]
                style = styles[change.verdict]
                table.add_row(*(Text(encodable(t, console), style=style) for t in texts))
    return table


def show_power(comparison: Comparison, loss: float, console: Console) -> None:
    """Print how many images would find a loss (a fraction), for each mode's clean and mean."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("", overflow="fold", min_width=NAME_WIDTH)
    for heading in POWER_HEADINGS:
        table.add_column(heading, justify="right")
    asked = [change for change in comparison.headlines if change.figure in DEFAULT_FIGURES]
    for mode in dict.fromkeys(change.mode for change in asked):
        table.add_row(Text(encodable(inert(mode), console), style="bold"))
        for change in asked:
            if change.mode == mode:
                entries = power_entries(change, loss)
                table.add_row(f"  {change.what}", *(encodable(entry_, console) for entry_ in entries))
    console.print(table)
    for line in power_basis(comparison, loss):
        say(line, console, "dim")


def show_gate(gate: Gate, console: Console) -> None:
    """Print what is certain of each mode's clean and mean, after how many images, and the decision."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("", overflow="fold", min_width=len("  clean"))
    for heading in GATE_HEADINGS:
        table.add_column(encodable(heading, console), justify="right", no_wrap=True)
    table.add_column("")
    for mode in dict.fromkeys(answer.mode for answer in gate.answers):
        table.add_row(Text(encodable(inert(mode), console), style="bold"))
        for answer in gate.answers:
            if answer.mode == mode:
                texts = (f"  {answer.what}", *gate_entries(answer), gate_outcome(answer, gate.margin))
                style = "bold" if answer.outcome == "worse" else ""
                table.add_row(*(Text(encodable(text, console), style=style) for text in texts))
    console.print(table)
    *lines, decision = gate_basis(gate)
    for line in lines:
        say(line, console, "dim")
    say(decision, console, "bold")


def say(text: str, console: Console, style: str = "") -> None:
    """Print a line that may hold names from anywhere."""
    console.print(Text(encodable(inert(text), console), style=style))


def show_ranking(records: Sequence[Record], console: Console, labels: Sequence[str] = ()) -> None:
    """Print every run and mode, best mean corruption accuracy first."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("run", overflow="fold", min_width=10)
    table.add_column("mode", overflow="fold", min_width=8)
    for heading in ("mean", "±", "clean", "mCE"):
        table.add_column(encodable(heading, console), justify="right", no_wrap=True, overflow="crop")
    for entry_ in rank(records, labels):
        summary = entry_.summary
        width = half_width(mean_range(summary)).lstrip("±")
        figures = (percent(summary.mean_corruption_top1), width, percent(summary.clean_top1))
        place = "–" if entry_.place is None else str(entry_.place)
        cells = (place, entry_.label, entry_.mode, *figures, percent(summary.mce))
        style = "bold" if entry_.place == 1 else ""
        table.add_row(*(Text(encodable(inert(cell), console), style=style) for cell in cells))
    console.print(table)


def to_text(
    records: Sequence[Record], labels: Sequence[str] = (), view: View = View(), *, width: int = 100
) -> str:
    """The table as plain text without colour codes."""
    buffer = io.StringIO()
    console = _writer(buffer, width)
    for record in records:
        console.print(Text(encodable(inert(header.line(record), 4000), console)), style="dim")
    show(records, console, labels, view)
    show_sweeps(records, console, labels)
    return buffer.getvalue()


def gate_to_text(gate: Gate, *, width: int = 100) -> str:
    """The decision as plain text without colour codes."""
    buffer = io.StringIO()
    show_gate(gate, _writer(buffer, width))
    return buffer.getvalue()


def comparison_to_text(comparison: Comparison, *, width: int = 100) -> str:
    """The comparison as plain text without colour codes."""
    buffer = io.StringIO()
    show_comparison(comparison, _writer(buffer, width))
    return buffer.getvalue()


def _writer(buffer: io.StringIO, width: int) -> Console:
    """A console that writes text and no more: in a notebook rich would show it there and then."""
    return Console(file=buffer, width=width, color_system=None, legacy_windows=False, force_jupyter=False)
