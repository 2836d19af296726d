"""The report page: one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from lnbench.results.correct import Correct
from lnbench.results.schema import Record
from lnbench.results.tables import pivot


def to_html(
    records: Sequence[Record],
    correct: Sequence[Correct | None],
    *,
    labels: Sequence[str] = (),
    sheet: bytes | None = None,
) -> str:
    """The whole report as one HTML text without references to anything outside it."""
    pages = Environment(loader=PackageLoader("lnbench.results.render"), autoescape=True, trim_blocks=True)
    return pages.get_template("report.html").render(grid=pivot(records, labels), records=records)
