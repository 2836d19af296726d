"""Tables as small pieces of HTML, as a notebook shows them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lnbench.files import one_line
from lnbench.results.compare import Comparison
from lnbench.results.gate import Gate
from lnbench.results.pivot import banners, pivot
from lnbench.results.schema import Record
from lnbench.results.tables import (
    CHANGE_HEADINGS,
    GATE_HEADINGS,
    basis,
    by_loss,
    change_entries,
    gate_basis,
    gate_entries,
    gate_outcome,
    half_width,
    outcome,
    percent,
)


def record_html(record: Record) -> str:
    """The pivot: rows are corruptions, columns are modes, the best of a row in bold."""
    grid = pivot([record])
    rows = []
    for row in grid.rows:
        entries = []
        for column, value in enumerate(row.values):
            text = escape(percent(value))
            width = escape(half_width(row.intervals[column]))
            shown = f"<b>{text}</b>" if column in row.best else text
            entries.append(f"{shown} <small>{width}</small>" if width else shown)
        rows.append([escape(one_line(row.name)), *entries])
    head = ["top-1 %", *(escape(one_line(heading)) for heading in grid.headings)]
    warned = "".join(f"<p><b>{escape(one_line(text))}</b></p>" for text in banners([record]))
    return warned + _table(head, rows) + _lines(grid.notes)


def comparison_html(found: Comparison) -> str:
    """The decision, the headline figures and the cells that changed, worst first."""
    changed = [change for change in by_loss(found.cells) if change.verdict != "same"]
    rows = [
        [
            escape(one_line(f"{change.mode}: {change.what}")),
            *(escape(text) for text in change_entries(change)),
        ]
        for change in (*found.headlines, *changed)
    ]
    decision = f"<p><b>{escape(outcome(found))}</b></p>"
    return decision + _table(["", *map(escape, CHANGE_HEADINGS)], rows) + _lines(basis(found))


def gate_html(gate: Gate) -> str:
    """The decision, and what is certain of each mode's clean and mean, after how many images."""
    *lines, decision = gate_basis(gate)
    rows = [
        [
            escape(one_line(f"{answer.mode}: {answer.what}")),
            *map(escape, gate_entries(answer)),
            escape(gate_outcome(answer, gate.margin)),
        ]
        for answer in gate.answers
    ]
    table = _table(["", *map(escape, GATE_HEADINGS), ""], rows)
    return f"<p><b>{escape(decision)}</b></p>" + table + _lines(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts that are HTML already."""
    top = "".join(f"<th>{text}</th>" for text in head)
    body = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{text}</td>' for text in texts)}</tr>" for name, *texts in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"<p><small>{escape(one_line(text))}</small></p>" for text in texts)
