"""Markdown as GitHub renders it: the report of a run, and tables for step summaries and papers' READMEs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lnbench.results.schema import Record
from lnbench.results.tables import Pivot, half_width, percent, pivot


def text(value: object) -> str:
    """A name as plain text in Markdown and in its tables: nothing in it is markup, link, HTML or a row."""
    line = "".join(char if char.isprintable() else " " for char in str(value))
    return re.sub(r"([\\`*_{}\[\]<>#|~$@!])", r"\\\1", line.replace("&", "&amp;"))


def code(value: object) -> str:
    """A text as inline code, whatever backticks and pipes it holds."""
    line = "".join(char if char.isprintable() else " " for char in str(value)).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") or not line.strip() else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of finished cells: the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([":--"] + ["--:"] * (len(head) - 1)) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def pivot_table(grid: Pivot) -> str:
    """The pivot: the best of a row is bold, intervals stand beside the headline figures."""
    rows = []
    for row in grid.rows:
        cells = []
        for column, value in enumerate(row.values):
            shown = percent(value)
            shown = f"**{shown}**" if column in row.best else shown
            cells.append(f"{shown} {half_width(row.intervals[column])}".rstrip())
        rows.append([text(row.name), *cells])
    return table(["", *(text(heading) for heading in grid.headings)], rows)


def to_markdown(records: Sequence[Record], labels: Sequence[str] = ()) -> str:
    """The whole report: table, notes, and for each run its model, data, command, deviations, environment."""
    grid = pivot(records, labels)
    parts = ["# lnbench report", pivot_table(grid), "\n".join(f"- {text(note)}" for note in grid.notes)]
    for number, record in enumerate(records):
        if labels:
            parts.append(f"## {text(labels[number])}")
        parts += _sections(record)
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(record: Record) -> list[str]:
    deviations = "\n".join(f"- {text(line)}" for line in record.deviations) or "None."
    return [
        "### Run",
        table(["", "value"], [[text(name), code(value)] for name, value in facts(record) if value]),
        "### Known deviations",
        deviations,
        "### Environment",
        table(["", "value"], [[text(name), code(value)] for name, value in surroundings(record)]),
    ]


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
        ("precision", model.precision),
        ("norm layers", str(model.norm_layers)),
        ("data", data.spec),
        ("images", f"{data.images}{share}"),
        ("unreadable images left out", str(len(data.skipped)) if data.skipped else ""),
        ("data fingerprint", data.fingerprint),
        ("preset", suite.preset or ""),
        ("parameter table", suite.table or ""),
        ("backend", suite.backend),
        ("seed", str(suite.seed)),
    ]


def surroundings(record: Record) -> list[tuple[str, str]]:
    """The environment, as (name, value)."""
    here = record.environment
    found = [("lnbench", here.lnbench), ("python", here.python), *here.packages.items()]
    found += [("platform", here.platform), ("device", here.device), ("threads", str(here.threads))]
    found += [("processes", str(here.processes))]
    return found + [(name, str(value)) for name, value in here.deterministic.items()]
