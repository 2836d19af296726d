"""What `evaluate`, `read` and `compare` give back: a record and a comparison, as a person looks at them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnbench.errors import LnbenchError, RecordError
from lnbench.results import compare as comparing
from lnbench.results import schema
from lnbench.results.correct import Correct

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from lnbench.results.gate import Gate


@dataclass(frozen=True, repr=False)
class RunRecord:
    """A finished run. Shows as its table: as text in a terminal, as HTML in a notebook.

    `content` is the whole record as `results.json` has it (config, model, data, environment, cells, summary);
    `folder` where it lies, None where it was kept in memory. `gate`: of a run `against` another what is
    certain, else None. `gate.passed`: nothing is worse; `gate.decided`: nothing is open; `gate.answers`, for
    clean and mean of each mode: `mode`, `figure`, `outcome` ("worse", "within" the margin, "undecided"), the
    images `seen`, the `difference` on them and its `interval`, fractions.

    Example:
        >>> import lnbench
        >>> options = {"severities": [5], "modes": "fixed", "limit": 60, "device": "cpu", "progress": False}
        >>> record = lnbench.evaluate("demo", "demo", corruptions=["contrast"], **options)
        >>> list(record.cells["corruption"]), len(record.images)
        (['clean', 'contrast'], 120)
    """

    content: schema.Record
    correct: Correct | None = field(default=None)
    folder: Path | None = None
    gate: Gate | None = None

    @property
    def cells(self) -> pandas.DataFrame:
        """One row a cell: mode, corruption, severity, images, top1 and its interval, every other metric.

        Rates are fractions in 0–1. LnbenchError where pandas is not installed.
        """
        from lnbench.results.render.delimited import columns, rows

        return _pandas().DataFrame(rows([self.content]), columns=columns([self.content])[1:])

    @property
    def images(self) -> pandas.DataFrame:
        """One row an image and cell: mode, corruption, severity, image (its number), label, correct.

        RecordError where the record came without the bits (a `results.json` alone).
        """
        if self.correct is None:
            raise RecordError("the record has no answers to single images: correct.npz was not beside it")
        pandas, parts = _pandas(), []
        for (mode, condition), flags in self.correct.flags.items():
            known = self.correct.ids is not None and len(self.correct.ids) == len(flags)
            parts.append(
                pandas.DataFrame(
                    {
                        "mode": mode,
                        "corruption": condition.corruption,
                        "severity": condition.severity,
                        "image": self.correct.ids if known else range(len(flags)),
                        "label": self.correct.labels if known else None,
                        "correct": flags,
                    }
                )
            )
        return pandas.concat(parts, ignore_index=True)

    @property
    def summary(self) -> pandas.DataFrame:
        """One row a mode: clean and mean corruption top-1 with their intervals, mCE where it is defined."""
        return _pandas().DataFrame(
            [{"mode": mode, **one.model_dump()} for mode, one in self.content.summary.items()]
        ).set_index("mode")  # fmt: skip

    def plot(self, what: str = "severity", axes: Axes | None = None) -> Axes:
        """Draw a line for each mode and return the matplotlib axes.

        `what`: a corruption (top-1 against its severity), `severity` (the mean over corruptions),
        `calibration`, or `stream`. UsageError for anything else.
        """
        from lnbench.results.render.axes import plot

        return plot(self.content, what, axes)

    def __repr__(self) -> str:
        from lnbench.results.render.terminal import gate_to_text, to_text

        gate = "" if self.gate is None else gate_to_text(self.gate, width=_width())
        return (to_text([self.content], width=_width()) + gate).rstrip()

    def _repr_html_(self) -> str:
        from lnbench.results.render.notebook import gate_html, record_html

        return record_html(self.content) + ("" if self.gate is None else gate_html(self.gate))


@dataclass(frozen=True, repr=False)
class RunComparison:
    """What changed from one record to another, and whether that is acceptable. Shows as its tables.

    Example:
        >>> import lnbench
        >>> options = {"severities": [5], "modes": "fixed", "limit": 60, "device": "cpu", "progress": False}
        >>> record = lnbench.evaluate("demo", "demo", corruptions=["contrast"], **options)
        >>> lnbench.compare(record, record).passed
        True
    """

    content: comparing.Comparison

    @property
    def passed(self) -> bool:
        """Whether no rule was broken."""
        return self.content.passed

    @property
    def failures(self) -> tuple[str, ...]:
        """A line for each rule broken: where, and by how much."""
        return tuple(failure.text for failure in self.content.failures)

    @property
    def changes(self) -> pandas.DataFrame:
        """One row a figure and cell, worst first: base, new, difference, interval, p, verdict.

        Headline figures have no corruption. Fractions in 0–1. LnbenchError where pandas is not installed.
        """
        from lnbench.results.tables import by_loss

        return _pandas().DataFrame(
            [
                {
                    "mode": one.mode,
                    "corruption": None if one.condition is None else one.condition.corruption,
                    "severity": None if one.condition is None else one.condition.severity,
                    "figure": one.figure,
                    "base": one.base,
                    "new": one.new,
                    "difference": one.difference,
                    "low": None if one.interval is None else one.interval[0],
                    "high": None if one.interval is None else one.interval[1],
                    "p": one.p,
                    "adjusted_p": one.adjusted,
                    "verdict": one.verdict,
                }
                for one in by_loss([*self.content.headlines, *self.content.cells])
            ]
        )

    def __repr__(self) -> str:
        from lnbench.results.render.terminal import comparison_to_text

        return comparison_to_text(self.content, width=_width()).rstrip()

    def _repr_html_(self) -> str:
        from lnbench.results.render.notebook import comparison_html

        return comparison_html(self.content)


def _width() -> int:
    """Columns of the terminal, where there is one."""
    return shutil.get_terminal_size((100, 24)).columns


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise LnbenchError("tables as frames need pandas: pip install 'lnbench[pandas]'") from None
    return pandas
