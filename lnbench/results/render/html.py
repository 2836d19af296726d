"""The report page: one self-contained file, no script, nothing fetched."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lnbench.files import one_line
from lnbench.metrics import METRICS, Metric
from lnbench.results import courses
from lnbench.results.breakdown import (
    ClassLoss,
    Curve,
    Reliability,
    calibration,
    class_losses,
    curves,
    series_names,
    shifts,
)
from lnbench.results.correct import Correct
from lnbench.results.pivot import MARK, banners, pivot
from lnbench.results.render.markdown import LONGEST, facts, surroundings
from lnbench.results.render.plots import (
    ENOUGH,
    course_plot,
    legend_plot,
    reliability_plot,
    severity_plot,
    sweep_plot,
)
from lnbench.results.schema import Record
from lnbench.results.sweeps import Sweep, sweeps
from lnbench.results.sweeps import curves as along
from lnbench.results.tables import figure, half_width, percent

CLASSES_SHOWN = 20  # of each mode; the rest is in correct.npz


@dataclass(frozen=True)
class Plot:
    """A picture, what it shows in words, and the numbers behind it."""

    title: str
    svg: Markup
    alt: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class SweptOption:
    """Everything the page shows of one option that modes differ in."""

    option: str
    legend: tuple[tuple[str, Markup], ...]
    plots: tuple[Plot, ...]


def to_html(
    records: Sequence[Record],
    correct: Sequence[Correct | None],
    *,
    labels: Sequence[str] = (),
    sheet: bytes | None = None,
) -> str:
    """The whole report as one HTML text without references to anything outside it.

    `correct`: the evidence of each record, for losses by class; `sheet`: a PNG of the corruptions.
    """
    pages = Environment(
        loader=PackageLoader("lnbench.results.render"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=printable,
    )
    pages.filters |= {
        "percent": percent,
        "half_width": half_width,
        "shade": shade,
        "breakable": breakable,
    }
    grid = pivot(records, labels)
    context: dict[str, Any] = {
        "grid": grid,
        "banners": banners(records, labels),
        "headline": [row for row in grid.rows if row.kind != "corruption"],
        "mark": MARK,
        "title": " and ".join(dict.fromkeys(_title(record) for record in records)),
        "legends": [_legend(records, labels, place) for place in ("k", "l", "m")],
        "severities": list(_severity_plots(records, labels)),
        "courses": list(_course_plots(records, labels)),
        "costs": courses.cost_table(records, labels),
        "swept": list(_sweep_plots(records, labels)),
        "reliability": list(_reliability_plots(records, labels)),
        "metrics": _others(),
        "calibration": list(_calibration_rows(records, labels)),
        "classes": list(_class_tables(records, correct, labels)),
        "enough": ENOUGH,
        "shifts": list(_shift_tables(records, labels)),
        "sheet": base64.b64encode(sheet).decode("ascii") if sheet else None,
        "runs": [
            {
                "label": labels[number] if labels else "",
                "facts": [(name, value) for name, value in facts(record) if value],
                "surroundings": surroundings(record),
                "deviations": record.deviations,
                "skipped": record.data.skipped[:50],
            }
            for number, record in enumerate(records)
        ],
    }
    return pages.get_template("report.html").render(context)


def _title(record: Record) -> str:
    weights = record.model.weights
    return record.model.spec if weights is None else f"{record.model.spec} ({PurePath(weights).name})"


def printable(value: object) -> object:
    """What stands in the page: text from elsewhere as one line without control characters."""
    return one_line(value, LONGEST) if isinstance(value, str) and not isinstance(value, Markup) else value


def breakable(name: str) -> Markup:
    """A name that may be broken after its signs, so that narrow screens do not cut words."""
    parts = re.split(r"(?<=[_:,./])", one_line(name, LONGEST))
    return Markup("<wbr>").join(parts)


def shade(value: float | None, top: float = 1.0) -> str:
    """How strongly a cell is coloured, 0–100, from a fraction of `top`."""
    return "0" if value is None or not top else f"{100 * min(1.0, max(0.0, value / top)):.0f}"


def _legend(records: Sequence[Record], labels: Sequence[str], place: str) -> list[tuple[str, Markup]]:
    """(name, piece of line) of every mode; `place` keeps the ids of two legends apart."""
    return [
        (name, Markup(legend_plot(number, f"{place}{number}")))
        for number, (_, _, name) in enumerate(series_names(records, labels))
    ]


def _severity_plots(records: Sequence[Record], labels: Sequence[str]) -> Iterator[Plot]:
    for number, (corruption, lines) in enumerate(curves(records, labels).items()):
        severities = sorted({severity for line in lines for severity, _ in line.points})
        head = ("severity", *("clean" if s == 0 else f"{s:g}" for s in severities))
        rows = [(line.name, *(percent(dict(line.points).get(s)) for s in severities)) for line in lines]
        svg = Markup(severity_plot(lines, f"c{number}"))
        yield Plot(corruption, svg, _fall(corruption, lines), head, tuple(rows))


def _sweep_plots(records: Sequence[Record], labels: Sequence[str]) -> Iterator[SweptOption]:
    """For each option that is swept: its sweeps by name, and a plot of each figure along it."""
    by_option: dict[str, list[tuple[str, Sweep, dict[str, tuple[float | None, ...]]]]] = defaultdict(list)
    for number, record in enumerate(records):
        for sweep in sweeps(record.suite.modes):
            name = f"{labels[number]} · {sweep.name}" if labels else sweep.name
            by_option[sweep.option].append((name, sweep, along(record, sweep)))
    for place, (option, swept) in enumerate(by_option.items()):
        values = sorted({value for _, sweep, _ in swept for value in sweep.values})
        legend = [(name, Markup(legend_plot(k, f"w{place}-{k}"))) for k, (name, _, _) in enumerate(swept)]
        plots: list[Plot] = []
        for figure_name in dict.fromkeys(key for _, _, figures in swept for key in figures):
            lines = [
                [dict(zip(sweep.values, figures[figure_name], strict=True)).get(value) for value in values]
                if figure_name in figures
                else [None] * len(values)
                for _, sweep, figures in swept
            ]
            svg = Markup(sweep_plot(lines, values, option, f"x{place}-{len(plots)}"))
            rows = [
                (name, *(percent(rate) for rate in line))
                for (name, *_), line in zip(swept, lines, strict=True)
            ]
            head = (option, *(f"{value:g}" for value in values))
            alt = f"Top-1 accuracy along {option}, {figure_name}: the table below holds the numbers."
            plots.append(Plot(figure_name, svg, alt, head, tuple(rows)))
        yield SweptOption(option, tuple(legend), tuple(plots))


def _fall(corruption: str, lines: Sequence[Curve]) -> str:
    """A severity plot in words."""
    parts = [
        f"{line.name} goes from {percent(line.points[0][1], 1)} to {percent(line.points[-1][1], 1)} percent"
        for line in lines
        if line.points
    ]
    return f"Top-1 accuracy against severity under {corruption}: {'; '.join(parts)}."


def _course_plots(records: Sequence[Record], labels: Sequence[str]) -> Iterator[Plot]:
    for number, (title, entries) in enumerate(courses.lines(records, labels).items()):
        shown = [line for line in entries if line.tenths]
        tenths = max((len(line.tenths) for line in shown), default=0)
        rows = [
            (
                line.name,
                *(percent(rate, 1) for rate in line.tenths),
                f"{len(line.resets)}",
                f"{len(line.recoveries)}",
            )
            for line in shown
        ]
        parts = [
            f"{line.name} goes from {percent(line.tenths[0], 1)} to {percent(line.tenths[-1], 1)} percent"
            for line in shown
        ]
        alt = f"Top-1 accuracy along the stream, {title}: {'; '.join(parts)}."
        head = ("tenth", *(str(one) for one in range(1, tenths + 1)), "resets", "recoveries")
        yield Plot(title, Markup(course_plot(entries, f"t{number}")), alt, head, tuple(rows))


def _reliability_plots(records: Sequence[Record], labels: Sequence[str]) -> Iterator[Plot]:
    for number, (title, clean) in enumerate((("clean images", True), ("corrupted images", False))):
        entries = calibration(records, labels, clean=clean)
        if not any(entry.bins for entry in entries):
            continue
        rows = [
            (entry.name, f"{images}", percent(confidence), percent(accuracy))
            for entry in entries
            for images, confidence, accuracy in entry.bins
        ]
        svg = Markup(reliability_plot(entries, f"r{number}"))
        gaps = "; ".join(_gap(entry) for entry in entries)
        alt = f"Accuracy against confidence on {title}, bins of {ENOUGH} images and more: {gaps}."
        yield Plot(title, svg, alt, ("mode", "images", "confidence %", "accuracy %"), tuple(rows))


def _gap(entry: Reliability) -> str:
    images = sum(n for n, _, _ in entry.bins)
    if not images:
        return f"{entry.name} has no data"
    excess = sum(n * (confidence - accuracy) for n, confidence, accuracy in entry.bins) / images
    word = "over" if excess > 0 else "under"
    return f"{entry.name} is {word}confident by {100 * abs(excess):.1f} points on average"


def _others() -> list[Metric]:
    """The metrics that have no table of their own."""
    return [metric for name, metric in METRICS.items() if name != "top1"]


def _calibration_rows(records: Sequence[Record], labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Name, then each of `_others` on clean and on corrupted images."""
    pairs = zip(
        calibration(records, labels, clean=True), calibration(records, labels, clean=False), strict=True
    )
    for clean, corrupted in pairs:
        yield clean.name, *(figure(e.scores[m.name], m.unit) for m in _others() for e in (clean, corrupted))


def _class_tables(
    records: Sequence[Record], correct: Sequence[Correct | None], labels: Sequence[str]
) -> Iterator[tuple[str, list[ClassLoss], int]]:
    """(name, the classes that lose most, number of classes) of each mode."""
    names = iter(series_names(records, labels))
    for record, evidence in zip(records, correct, strict=True):
        for mode in record.suite.modes:
            _, _, name = next(names)
            losses = class_losses(record, evidence, mode) if evidence is not None else []
            if losses:
                yield name, losses[:CLASSES_SHOWN], len(losses)


def _shift_tables(
    records: Sequence[Record], labels: Sequence[str]
) -> Iterator[tuple[str, list[str], dict[str, list[float | None]], float]]:
    """(run, conditions, distances by layer, largest distance) of each run that was diagnosed."""
    for number, record in enumerate(records):
        conditions, table = shifts(record)
        known = [value for row in table.values() for value in row if value is not None]
        if known:
            yield (labels[number] if labels else ""), conditions, table, max(known)
