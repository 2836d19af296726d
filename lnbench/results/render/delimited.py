"""CSV and JSON: one row for each cell, for spreadsheets and notebooks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lnbench.files import one_line
from lnbench.metrics import METRICS
from lnbench.results import header
from lnbench.results.compare import Change, Comparison
from lnbench.results.schema import Cell, Record
from lnbench.results.scores import rate_interval

# A spreadsheet runs a field that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@")
LONGEST = 10_000  # characters of a name


def columns(records: Sequence[Record]) -> list[str]:
    """The names of the columns: every metric here, and those that only the records know."""
    found = dict.fromkeys([*METRICS, *(name for r in records for cell in r.cells for name in cell.scores)])
    scores = [name for name in found if name != "top1"]
    where = ["run", "model", "data", "mode", "corruption", "severity", "images"]
    tenths = max((len(c.course.tenths) for r in records for c in r.cells if c.course), default=0)
    counts = dict.fromkeys(name for r in records for c in r.cells for name in c.counts or ())
    return [
        *where,
        "top1",
        "top1_low",
        "top1_high",
        *scores,
        "batch_size",
        "seconds",
        "outputs",
        "preprocessing",
        *(["batches", "resets_at", "recoveries_at"] if tenths else []),
        *(f"tenth_{number}" for number in range(1, tenths + 1)),
        *(f"count_{name}" for name in counts),
    ]


def rows(records: Sequence[Record], labels: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every cell as a flat row; `top1_low` and `top1_high` are its 95 % interval. Rates in 0–1.

    Where a cell has a course, `tenth_1` to `tenth_10` are its top-1 along the stream, `resets_at` and
    `recoveries_at` numbers of batches, in one field; `count_…` is what a mode counted.
    """
    names = list(labels) if labels else [""] * len(records)
    head = columns(records)
    found = []
    for record, name in zip(records, names, strict=True):
        outputs, prepared = header.outputs(record), header.preprocessing(record)
        for cell in record.cells:
            low, high = rate_interval(cell)
            values = {
                **cell.scores,
                "run": name,
                "model": record.model.spec,
                "data": record.data.spec,
                "mode": cell.mode,
                "corruption": cell.corruption,
                "severity": cell.severity,
                "images": cell.images,
                "top1_low": low,
                "top1_high": high,
                "batch_size": cell.batch_size,
                "seconds": cell.seconds,
                "outputs": outputs,
                "preprocessing": prepared,
                **_course(cell),
                **{f"count_{name}": value for name, value in (cell.counts or {}).items()},
            }
            found.append({column: values.get(column) for column in head})
    return found


def _course(cell: Cell) -> dict[str, Any]:
    course = cell.course
    if course is None:
        return {}
    return {
        "batches": course.batches,
        "resets_at": " ".join(map(str, course.resets)) or None,
        "recoveries_at": " ".join(map(str, course.recoveries or ())) or None,
        **{f"tenth_{number}": rate for number, rate in enumerate(course.tenths, 1)},
    }


def to_csv(records: Sequence[Record], labels: Sequence[str] = ()) -> str:
    """RFC 4180 text with a header; empty for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field(name) for name in columns(records)])
    writer.writerows([field(value) for value in row.values()] for row in rows(records, labels))
    return text.getvalue()


def field(value: object) -> object:
    """A value as a CSV field: whole severities without '.0', six decimals, names that cannot run."""
    if isinstance(value, float):
        return f"{value:.6g}" if value != int(value) else str(int(value))
    if isinstance(value, str):
        line = one_line(value, LONGEST)
        return "'" + line if line.startswith(FORMULA_STARTS) else line
    return value


def to_json(records: Sequence[Record], labels: Sequence[str] = ()) -> str:
    """The same rows as a JSON list."""
    return _json(rows(records, labels))


def comparison_to_json(comparison: Comparison) -> str:
    """A comparison for other programs. Differences are fractions; null where there is no test."""
    content = {
        "schema": 1,
        "passed": comparison.passed,
        "rules": list(comparison.rules),
        "significance": comparison.significance,
        "tested": comparison.tested,
        "failures": [asdict(failure) for failure in comparison.failures],
        "missing": list(comparison.missing),
        "unfinished": list(comparison.unfinished),
        "mismatches": list(comparison.mismatches),
        "headlines": [_change(change) for change in comparison.headlines],
        "cells": [_change(change) for change in comparison.cells],
    }
    return _json(content)


def _json(content: object) -> str:
    """JSON in which names can be read and nothing but they can: a terminal sees no control characters."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n"


def _change(change: Change) -> dict[str, Any]:
    where = {} if change.condition is None else asdict(change.condition)
    return {
        "mode": change.mode,
        **where,
        "figure": change.figure,
        "base": change.base,
        "new": change.new,
        "difference": change.difference,
        "interval": change.interval,
        "p": change.p,
        "adjusted_p": change.adjusted,
        "verdict": change.verdict,
        "detectable_loss": change.detectable,
    }
