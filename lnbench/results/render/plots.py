"""Plots as SVG whose colours are CSS variables, so that one picture serves light, dark and paper.

Drawn by matplotlib with stand-in colours, which are then replaced by `var(--…)`. Lines differ in marker and
dash as well as colour. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lnbench.results.breakdown import Curve, Reliability
from lnbench.results.courses import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENOUGH = 10  # images that a confidence bin needs before its accuracy is worth a point
COLOURS = 7  # --s0 … --s6 in the page's style sheet
MARKERS = "os^Dv*X"
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1)),
    (0, (1, 3)),
    (0, (8, 2)),
)
# Stand-ins: colours that nothing else uses, turned into CSS variables afterwards.
INK, GRID = "#fe0100", "#fe0200"
VARIABLES = {INK: "var(--ink)", GRID: "var(--grid)"} | {
    f"#fe00{i:02x}": f"var(--s{i})" for i in range(COLOURS)
}

Margins = tuple[float, float, float]  # left, bottom, and the two others
MARGINS: Margins = (0.52, 0.42, 0.14)

STYLE: dict[str, Any] = {
    "svg.hashsalt": "lnbench",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollar signs
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "path.simplify": False,
}


def severity_plot(curves: Sequence[Curve], prefix: str) -> str:
    """Accuracy (%) against severity, one line for each mode. `prefix` keeps ids distinct in the page."""

    def draw(axes: Axes) -> None:
        for number, curve in enumerate(curves):
            if curve.points:
                severities, rates = zip(*curve.points, strict=True)
                axes.plot(severities, [100 * rate for rate in rates], **line_style(number))
        ticks = sorted({severity for curve in curves for severity, _ in curve.points})
        axes.set_xticks(ticks, ["clean" if tick == 0 else f"{tick:g}" for tick in ticks])
        axes.set_ylim(0, 100)
        axes.set_yticks(range(0, 101, 25))
        axes.set_xlabel("severity")
        axes.set_ylabel("top-1 %")

    return _svg(draw, (3.0, 2.1), prefix)


def sweep_plot(
    lines: Sequence[Sequence[float | None]], values: Sequence[float], option: str, prefix: str
) -> str:
    """Accuracy (%) along an option's values, evenly spaced; a line for each sweep."""

    def draw(axes: Axes) -> None:
        for number, line in enumerate(lines):
            axes.plot(
                range(len(values)),
                [float("nan") if rate is None else 100 * rate for rate in line],
                **line_style(number),
            )
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_ylim(0, 100)
        axes.set_yticks(range(0, 101, 25))
        axes.set_xlabel(option)
        axes.set_ylabel("top-1 %")

    return _svg(draw, (3.0, 2.1), prefix)


def course_plot(entries: Sequence[Line], prefix: str) -> str:
    """Accuracy (%) in each tenth of the stream, one line for each mode.

    An upright line where one forgot because it was time, a triangle at the top where one recovered.
    """

    def draw(axes: Axes) -> None:
        most = 1
        for number, entry in enumerate(entries):
            if entry.tenths:
                most = max(most, len(entry.tenths))
                style = line_style(number)
                axes.plot(range(1, len(entry.tenths) + 1), [100 * rate for rate in entry.tenths], **style)
                length = len(entry.tenths)
                for place in entry.resets:
                    at = 0.5 + place * length
                    axes.axvline(at, color=style["color"], linewidth=0.8, linestyle=style["linestyle"])
                recovered = [0.5 + place * length for place in entry.recoveries]
                axes.plot(recovered, [100] * len(recovered), "v", color=style["color"], clip_on=False)
        axes.set_xticks(range(1, most + 1))
        axes.set_ylim(0, 100)
        axes.set_yticks(range(0, 101, 25))
        axes.set_xlabel("tenth of the stream")
        axes.set_ylabel("top-1 %")

    return _svg(draw, (3.0, 2.1), prefix)


def reliability_plot(entries: Sequence[Reliability], prefix: str) -> str:
    """Accuracy against confidence, with the diagonal of perfect calibration; thin bins left out."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=GRID, linewidth=1.2)
        for number, entry in enumerate(entries):
            bins = [found for found in entry.bins if found[0] >= ENOUGH]
            if bins:
                _, confidence, accuracy = zip(*bins, strict=True)
                axes.plot([100 * c for c in confidence], [100 * a for a in accuracy], **line_style(number))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("confidence %")
        axes.set_ylabel("accuracy %")

    return _svg(draw, (3.6, 3.0), prefix)


def legend_plot(number: int, prefix: str) -> str:
    """A short piece of line number `number`, for the legend."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1, 2], [0, 0, 0], **{**line_style(number), "markevery": [1]})
        axes.set_axis_off()

    return _svg(draw, (0.6, 0.2), prefix, (0, 0, 0))


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and dash of the line: seven of each, and dashes shift when the colours repeat."""
    return {
        "color": f"#fe00{number % COLOURS:02x}",
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[(number + number // COLOURS) % len(DASHES)],
        "markersize": 4.5,
        "linewidth": 1.6,
    }


def _svg(
    draw: Callable[[Axes], None], size: tuple[float, float], prefix: str, margins: Margins = MARGINS
) -> str:
    """An `<svg>` element of `size` inches, without XML head, sized by the page."""
    import logging

    # Where it keeps its list of fonts is no concern of who reads a report.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        # Margins in inches, for tick labels and axis titles: the same frame in every small multiple.
        left, bottom, edge = margins
        figure.subplots_adjust(left / size[0], bottom / size[1], 1 - edge / size[0], 1 - edge / size[1])
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="y")
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), prefix)


def _inline(document: str, prefix: str) -> str:
    text = document[document.index("<svg") :]
    # Its style sheet would reach the whole page; the page's own says the same of its plots.
    text = re.sub(r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</defs>\s*", "", text, flags=re.DOTALL)
    # The page says how large it is shown and what it means.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    text = _distinct_ids(text, prefix)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text.strip()


def _distinct_ids(text: str, prefix: str) -> str:
    """Keep the ids that something refers to, and make them the picture's own."""
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r'\sid="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in wanted else "", text)
    return re.sub(r'(href="|url\()#', rf"\1#{prefix}-", text)
