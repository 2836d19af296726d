"""The goldens: one small record through every renderer. Look at the diff before committing a change.

Write them anew with `python -m tests.results.golden` from the repository root.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lnbench.results.baseline import baseline_bytes
from lnbench.results.compare import Comparison, compare
from lnbench.results.correct import Correct, from_cells
from lnbench.results.reading import record_bytes
from lnbench.results.render import terminal
from lnbench.results.render.delimited import comparison_to_json, to_csv, to_json
from lnbench.results.render.html import to_html
from lnbench.results.render.junit import to_junit
from lnbench.results.render.latex import to_latex
from lnbench.results.render.markdown import comparison_to_markdown, ranking_to_markdown, to_markdown
from lnbench.results.rules import parse
from lnbench.results.schema import Record
from lnbench.results.store import make_record
from tests.results.samples import FULL, WNIDS, labels, make_cells, make_run, screen, shown

FOLDER = Path(__file__).parent / "golden"


def sample(loss: float = 0.0, generator: int = 2) -> tuple[Record, Correct]:
    """Three modes, two corruptions at two severities, 40 images."""
    run = make_run(generator=generator, deviations=("batch statistics over 20 images, seeded shuffle",))
    cells = make_cells(run, loss=loss)
    return make_record(run, cells), from_cells(cells, labels=labels(run), ids=range(run.data.images))


def full() -> Record:
    """A run for which mCE is defined, in two modes."""
    run = make_run(
        modes=("fixed", "adapt:n=32"), conditions=FULL, table="imagenet", classes=1000, names=WNIDS
    )
    return make_record(run, make_cells(run))


def comparison() -> Comparison:
    """The sample against itself with 12 points lost."""
    old, old_bits = sample()
    new, new_bits = sample(loss=0.12)
    return compare(old, new, old_bits, new_bits, rules=[parse("top1:-15pp"), parse("fixed: clean_top1:-1pp")])


def printed(show: Callable[..., None], *arguments: object, width: int = 80, encoding: str = "utf-8") -> str:
    """What `show` prints on a terminal, with no blanks at line ends."""
    console, stream = screen(width, encoding)
    show(*arguments, console)
    return "".join(line.rstrip() + "\n" for line in shown(stream).splitlines())


def page() -> str:
    """The report without its pictures, which change with matplotlib's version."""
    record, correct = sample()
    text = to_html([record], [correct], sheet=b"\x89PNG")
    return re.sub(r"<svg.*?</svg>", "<svg/>", text, flags=re.DOTALL)


GOLDENS: dict[str, Callable[[], str]] = {
    "results.json": lambda: record_bytes(sample()[0]).decode(),
    "baseline.json": lambda: baseline_bytes(*sample()).decode(),
    "results.csv": lambda: to_csv([sample()[0]]),
    "rows.json": lambda: to_json([sample()[0], full()], ["a", "b"]),
    "report.md": lambda: to_markdown([sample()[0]]),
    "report.html": page,
    "two.md": lambda: to_markdown([sample()[0], sample(0.1)[0]], ["old", "new"]),
    "table.tex": lambda: to_latex([full()]),
    "table.txt": lambda: printed(terminal.show, [sample()[0]]),
    "table-mce.txt": lambda: printed(terminal.show, [full()]),
    "table-ascii-40.txt": lambda: printed(terminal.show, [sample()[0]], width=40, encoding="ascii"),
    "ranking.txt": lambda: printed(terminal.show_ranking, [sample(0.1)[0], sample()[0]]),
    "ranking.md": lambda: ranking_to_markdown([sample(0.1)[0], sample()[0]]),
    "compare.txt": lambda: printed(terminal.show_comparison, comparison()),
    "compare-ascii-60.txt": lambda: printed(
        terminal.show_comparison, comparison(), width=60, encoding="ascii"
    ),
    "compare.md": lambda: comparison_to_markdown(comparison()),
    "compare.json": lambda: comparison_to_json(comparison()),
    "compare.xml": lambda: to_junit(comparison()),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in GOLDENS.items():
        (FOLDER / name).write_text(make(), encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
