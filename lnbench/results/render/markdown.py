"""Markdown as GitHub renders it: the report of a run, and tables for step summaries and papers' READMEs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lnbench.files import counted, one_line
from lnbench.results import header
from lnbench.results.compare import Change, Comparison
from lnbench.results.courses import cost_table
from lnbench.results.pivot import Pivot, View, banners, pivot
from lnbench.results.protocol import describe
from lnbench.results.ranking import rank
from lnbench.results.schema import Record
from lnbench.results.tables import (
    CHANGE_HEADINGS,
    basis,
    by_loss,
    change_entries,
    figure,
    half_width,
    mean_range,
    outcome,
    percent,
)

LONGEST = 10_000  # characters of a name or command line


def text(value: object) -> str:
    """A name as plain text in Markdown and in its tables: nothing in it is markup, link, HTML or a row.

    GitHub makes pictures of `:name:` after everything else, so that no escape helps: an invisible character
    (word joiner) keeps the colon from the name.
    """
    line = re.sub(r":(?=[\w+-]+:)", ":\u2060", one_line(value, LONGEST))
    return re.sub(r"([\\`*_{}\[\]<>#|~$@!])", r"\\\1", line.replace("&", "&amp;"))


def code(value: object) -> str:
    """A text as inline code, whatever backticks and pipes it holds."""
    line = one_line(value, LONGEST).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") or not line.strip() else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table of finished cells: the first `left` columns to the left, the others to the right."""
    rule = "|".join([":--"] * left + ["--:"] * (len(head) - left))
    lines = ["| " + " | ".join(head) + " |", f"|{rule}|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def pivot_table(grid: Pivot) -> str:
    """The pivot: the best of a row is bold, intervals stand beside the headline figures."""
    rows = []
    for row in grid.rows:
        cells = []
        for column, value in enumerate(row.values):
            shown = figure(value, row.unit)
            shown = f"**{shown}**" if column in row.best else shown
            cells.append(f"{shown} {half_width(row.intervals[column])}".rstrip())
        rows.append([text(row.name), *cells])
    return table([text(grid.title), *(text(heading) for heading in grid.headings)], rows)


def to_markdown(records: Sequence[Record], labels: Sequence[str] = (), view: View = View()) -> str:
    """The whole report: table, notes, and for each run its model, data, command, deviations, environment."""
    grid = pivot(records, labels, view)
    warned = [f"> **{text(banner)}**" for banner in banners(records, labels)]
    parts = [
        "# lnbench report",
        *warned,
        pivot_table(grid),
        "\n".join(f"- {text(note)}" for note in grid.notes),
    ]
    names, rows = cost_table(records, labels)
    if rows:
        head = ["mode", "first tenth", "last tenth", *map(text, names), "time × fixed"]
        parts += ["## Along the stream", table(head, [[text(name), *values] for name, values in rows])]
    for number, record in enumerate(records):
        if labels:
            parts.append(f"## {text(labels[number])}")
        parts += _sections(record, "###" if labels else "##")
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(record: Record, level: str) -> list[str]:
    deviations = "\n".join(f"- {text(line)}" for line in record.deviations) or "None."
    tables = [
        table(["", "value"], [[text(name), code(value)] for name, value in pairs if value], left=2)
        for pairs in (facts(record), surroundings(record))
    ]
    headings = ("Run", "Known deviations", "Environment")
    bodies = (tables[0], deviations, tables[1])
    return [part for pair in zip(headings, bodies, strict=True) for part in (f"{level} {pair[0]}", pair[1])]


def facts(record: Record) -> list[tuple[str, str]]:
    """What was run on what, as (name, value); empty where unknown."""
    model, data, suite = record.model, record.data, record.suite
    share = "" if data.images == data.total else f" of {data.total}"
    return [
        ("command", record.command),
        ("started", record.started),
        ("model", model.spec),
        ("weights", model.weights or ""),
        ("weights from", model.source),
        ("checkpoint sha256", model.sha256 or ""),
        ("code sha256", model.code or ""),
        ("built weights sha256", model.state or ""),
        ("precision", model.precision),
        *header.rows(record)[:1],
        ("norm layers", str(model.norm_layers)),
        ("data", header.place(record)),
        ("images", f"{data.images}{share}"),
        ("unreadable images left out", str(len(data.skipped)) if data.skipped else ""),
        *header.rows(record)[1:],
        ("data fingerprint", data.fingerprint),
        ("preset", (suite.preset or "") + (f" (version {suite.version})" if suite.version else "")),
        ("parameter table", suite.table or ""),
        ("backend", suite.backend),
        ("seed", str(suite.seed)),
        ("random generator", str(suite.generator or "")),
        ("stream", describe(record)),
    ]


def surroundings(record: Record) -> list[tuple[str, str]]:
    """The environment, as (name, value)."""
    here = record.environment
    found = [("lnbench", here.lnbench), ("python", here.python), *here.packages.items()]
    found += [("platform", here.platform), ("device", here.device), ("threads", str(here.threads))]
    return [*found, ("processes", str(here.processes))]


def comparison_to_markdown(comparison: Comparison, cap: int | None = None) -> str:
    """A comparison with every cell, worst first; to stay under `cap` bytes rows are left out, and counted."""
    ordered = by_loss(comparison.cells)
    keep = len(ordered)
    page = _comparison_page(comparison, ordered, keep)
    while cap is not None and keep and len(page.encode("utf-8")) > cap:
        keep //= 2
        page = _comparison_page(comparison, ordered, keep)
    return page


def _comparison_page(comparison: Comparison, ordered: Sequence[Change], keep: int) -> str:
    mark = "✅" if comparison.passed else "❌"
    failures = comparison.failures[: max(1, keep)]
    parts = [f"## {mark} lnbench: {text(outcome(comparison))}"]
    parts.append("\n".join(f"- {text(failure.text)}" for failure in failures))
    if len(failures) < len(comparison.failures):
        parts.append(f"… and {len(comparison.failures) - len(failures)} more")
    if comparison.headlines:
        parts.append(_change_table("figure", comparison.headlines))
    if keep:
        parts.append(f"<details><summary>{counted(len(ordered), 'cell')}, worst first</summary>")
        parts.append(_change_table("condition", ordered[:keep]))
        if keep < len(ordered):
            parts.append(f"… and {len(ordered) - keep} more cells")
        parts.append("</details>")
    parts.append("\n".join(f"- {text(line)}" for line in basis(comparison)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _change_table(title: str, changes: Sequence[Change]) -> str:
    rows = [
        [text(change.mode), text(change.what), *(text(entry) for entry in change_entries(change))]
        for change in changes
    ]
    return table(["mode", title, *CHANGE_HEADINGS[:-1], "&nbsp;"], rows, left=2)


def ranking_to_markdown(records: Sequence[Record], labels: Sequence[str] = ()) -> str:
    """Every run and mode, best mean corruption accuracy first."""
    rows = []
    for ranked in rank(records, labels):
        summary = ranked.summary
        place = "–" if ranked.place is None else str(ranked.place)
        mean = f"{percent(summary.mean_corruption_top1)} {half_width(mean_range(summary))}"
        figures = [mean.strip(), percent(summary.clean_top1), percent(summary.mce)]
        rows.append([place, text(ranked.label), text(ranked.mode), *figures])
    return table(["#", "run", "mode", "mean", "clean", "mCE"], rows, left=3) + "\n"
