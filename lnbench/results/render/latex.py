"""LaTeX with booktabs, for papers."""

from __future__ import annotations

from collections.abc import Sequence

from lnbench.files import one_line
from lnbench.results.header import line
from lnbench.results.pivot import View, pivot
from lnbench.results.schema import Record
from lnbench.results.tables import figure

SINGLE = ("corruption", "severity")  # rows above the headline figures
ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",  # \textquotedbl is not in LaTeX's default encoding
    # After the end of a row these would be taken for its arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "→": r"$\to$",
}


def text(value: object) -> str:
    """A name that typesets as itself: no command, no comment, no column."""
    return "".join(ESCAPES.get(char, char) for char in one_line(value, 10_000))


def to_latex(records: Sequence[Record], labels: Sequence[str] = (), view: View = View()) -> str:
    r"""A `table` with the pivot, the best of each row bold. Needs \usepackage{booktabs}."""
    grid = pivot(records, labels, view)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{text('; '.join([*grid.notes, *map(line, records)]))}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(grid.columns)}}}",
        "    \\toprule",
        "    " + " & ".join(["", *(text(heading) for heading in grid.headings)]) + r" \\",
        "    \\midrule",
    ]
    for number, row in enumerate(grid.rows):
        if number and row.kind not in SINGLE and grid.rows[number - 1].kind in SINGLE:
            lines.append("    \\midrule")
        cells = [
            f"\\textbf{{{figure(value, row.unit)}}}" if column in row.best else text(figure(value, row.unit))
            for column, value in enumerate(row.values)
        ]
        lines.append("    " + " & ".join([text(row.name), *cells]) + r" \\")
    lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"
