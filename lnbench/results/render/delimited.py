"""CSV and JSON: one row for each cell, for spreadsheets and notebooks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lnbench.results.compare import Change, Comparison
from lnbench.results.schema import Record
from lnbench.results.scores import rate_interval

COLUMNS = (
    "run",
    "model",
    "data",
    "mode",
    "corruption",
    "severity",
    "images",
    "top1",
    "top1_low",
    "top1_high",
    "top5",
    "nll",
    "ece",
    "batch_size",
    "seconds",
)

# A spreadsheet runs a field that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@")


def rows(records: Sequence[Record], labels: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every cell as a flat row; `top1_low` and `top1_high` are the 95 % Wilson interval. Rates in 0–1."""
    names = list(labels) if labels else [""] * len(records)
    found = []
    for record, name in zip(records, names, strict=True):
        for cell in record.cells:
            low, high = rate_interval(cell)
            values = (
                name,
                record.model.spec,
                record.data.spec,
                cell.mode,
                cell.corruption,
                cell.severity,
                cell.images,
                cell.top1,
                low,
                high,
                cell.top5,
                cell.nll,
                cell.ece,
                cell.batch_size,
                cell.seconds,
            )
            found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def to_csv(records: Sequence[Record], labels: Sequence[str] = ()) -> str:
    """RFC 4180 text with a header; empty for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([field(value) for value in row.values()] for row in rows(records, labels))
    return text.getvalue()


def field(value: object) -> object:
    """A value as a CSV field: whole severities without '.0', six decimals, names that cannot run."""
    if isinstance(value, float):
        return f"{value:.6g}" if value != int(value) else str(int(value))
    if isinstance(value, str) and value.lstrip().startswith(FORMULA_STARTS):
        return "'" + value
    return value


def to_json(records: Sequence[Record], labels: Sequence[str] = ()) -> str:
    """The same rows as a JSON list."""
    return json.dumps(rows(records, labels), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
        "mismatches": list(comparison.mismatches),
        "headlines": [_change(change) for change in comparison.headlines],
        "cells": [_change(change) for change in comparison.cells],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
    }
