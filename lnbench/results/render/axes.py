"""Pictures of a record on matplotlib axes, for notebooks and papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lnbench.errors import unknown
from lnbench.results.breakdown import calibration, curves
from lnbench.results.render.plots import ENOUGH
from lnbench.results.schema import Record
from lnbench.types import CLEAN_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(record: Record, what: str, axes: Axes | None = None) -> Axes:
    """Draw one line for each mode, on `axes` or on new ones, and return them.

    `what`: a corruption of the record (top-1 against its severity), `severity` (the mean over corruptions),
    `calibration` (accuracy against confidence, all conditions but clean; clean where there is no other), or
    `stream` (top-1 along the stream of the modes that have one, in tenths, mean over conditions).
    UsageError for anything else.
    """
    corruptions = [
        name for name in dict.fromkeys(c for c, _ in record.suite.conditions) if name != CLEAN_NAME
    ]
    if what not in (*DRAWN, *corruptions):
        raise unknown("plot", what, [*DRAWN, *corruptions])
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots()[1]
    if what in DRAWN:
        DRAWN[what](record, axes)
    else:
        for curve in curves([record])[what]:
            axes.plot(*_points(curve.points), marker="o", label=curve.name)
        _against_severity(axes, what)
    axes.legend()
    return axes


def _severity(record: Record, axes: Axes) -> None:
    for mode in record.suite.modes:
        cells = [cell for cell in record.cells if cell.mode == mode]
        points = []
        for severity in sorted({cell.severity for cell in cells}):
            rates = [cell.top1 for cell in cells if cell.severity == severity]
            points.append((severity, sum(rates) / len(rates)))
        axes.plot(*_points(points), marker="o", label=mode)
    _against_severity(axes, "mean over corruptions")


def _calibration(record: Record, axes: Axes) -> None:
    axes.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    clean = all(cell.condition.is_clean for cell in record.cells)
    for entry in calibration([record], clean=clean):
        bins = [found for found in entry.bins if found[0] >= ENOUGH]
        axes.plot([100 * b[1] for b in bins], [100 * b[2] for b in bins], marker="o", label=entry.name)
    axes.set(xlabel="confidence %", ylabel="accuracy %", title="clean" if clean else "corrupted images")


def _stream(record: Record, axes: Axes) -> None:
    for mode in record.suite.modes:
        courses = [cell.course.tenths for cell in record.cells if cell.mode == mode and cell.course]
        means = [100 * sum(tenth) / len(tenth) for tenth in zip(*courses, strict=False)]
        if means:
            axes.plot([10 * (number + 1) for number in range(len(means))], means, marker="o", label=mode)
    axes.set(xlabel="% of the stream", ylabel="top-1 %", title="along the stream")


DRAWN: dict[str, Callable[[Record, Axes], None]] = {
    "severity": _severity,
    "calibration": _calibration,
    "stream": _stream,
}


def _points(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [severity for severity, _ in points], [100 * rate for _, rate in points]


def _against_severity(axes: Axes, title: str) -> None:
    axes.set(xlabel="severity (0: clean)", ylabel="top-1 %", title=title, ylim=(0, 100))
