"""The table of a run that goes on: rows fill as conditions finish, each with its interval, clean first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from lnbench.files import inert
from lnbench.results.render.terminal import NAME_WIDTH, fold
from lnbench.results.schema import Cell, Interval
from lnbench.results.scores import (
    image_interval,
    mean_weights,
    rate_interval,
    severity_means,
)
from lnbench.results.tables import half_width, percent
from lnbench.types import Condition

_MEAN = "mean so far"
_ENTRY, _GAP, _COUNT = len("100.00 ±10.0"), 2, len(" 5/5")


class Measured(NamedTuple):
    """Top-1 and its 95 % interval, as fractions."""

    top1: float
    interval: Interval | None


class Board:
    """What is known by now. `headings` of its columns; `conditions` of the run, in order."""

    def __init__(self, headings: Sequence[str], conditions: Sequence[Condition]) -> None:
        self.headings, self._conditions = tuple(headings), tuple(conditions)
        self._cells: list[dict[Condition, Cell]] = [{} for _ in headings]
        self._finished: set[Condition] = set()
        self._figures: dict[tuple[str, int], Measured] = {}
        self._rows = tuple(dict.fromkeys(map(_row_of, conditions)))
        self._severities = Counter(map(_row_of, conditions))
        self._last = self._rows[0] if self._rows else ""

    def finish(self, condition: Condition) -> None:
        """No cell of this condition will come again, as those of a round do."""
        self._finished.add(condition)

    def finished(self) -> str:
        """How many conditions are finished: '3 of 8 conditions'."""
        return f"{len(self._finished)} of {len(self._conditions)} conditions"

    def filled(self) -> tuple[Condition, ...]:
        """The conditions that have all their cells."""
        return tuple(one for one in self._conditions if all(one in own for own in self._cells))

    def add(self, column: int, cell: Cell) -> None:
        """Take a cell of one column; one that comes again takes the place of the one before."""
        own, name = self._cells[column], _row_of(cell.condition)
        own[cell.condition] = cell
        self._last = name
        self._figures[name, column] = _figure([own[c] for c in own if _row_of(c) == name])
        corrupted = [one for condition, one in own.items() if condition.is_corrupted]
        if corrupted:
            self._figures[_MEAN, column] = _figure(corrupted)

    def table(self, width: int, height: int) -> Table:
        """As many columns and rows as have room; clean, the mean and what came last are always there."""
        fit = max(1, (width - NAME_WIDTH - _COUNT - _GAP) // (_ENTRY + _GAP))
        shown = range(min(fit, len(self.headings)))
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        table.add_column("top-1 %", min_width=NAME_WIDTH, overflow="fold")
        table.add_column("", justify="right", no_wrap=True, min_width=len(self._whole()))
        room = max(_ENTRY, (width - NAME_WIDTH - _COUNT - 2 * _GAP) // max(1, len(shown)) - _GAP)
        for column in shown:
            heading = fold(inert(self.headings[column]), room)
            table.add_column(Text(heading), justify="right", min_width=_ENTRY, overflow="fold")
        lines = max((fold(inert(self.headings[c]), room).count("\n") for c in shown), default=0)
        for name in self._in(height - 2 - lines):  # the header and the mean take theirs
            table.add_row(Text(inert(name)), self._count(name), *(self._entry(name, c) for c in shown))
        if any((_MEAN, column) in self._figures for column in shown):
            table.add_row(Text(_MEAN, style="bold"), "", *(self._entry(_MEAN, c) for c in shown))
        left = len(self.headings) - len(shown)
        if left:
            table.caption = f"{left} more mode{'s' if left > 1 else ''} in the table at the end"
            table.caption_justify = "left"
        return table

    def _whole(self) -> str:
        most = max(self._severities.values(), default=1)
        return f"{most}/{most}" if most > 1 else ""

    def _in(self, most: int) -> tuple[str, ...]:
        """The rows that are shown: all, or the first and those up to what came last."""
        if len(self._rows) <= max(2, most):
            return self._rows
        place = max(self._rows.index(self._last), max(2, most) - 1)
        return (self._rows[0], *self._rows[place - max(2, most) + 2 : place + 1])

    def _count(self, name: str) -> str:
        """How many of a corruption's severities there are, where it has several."""
        whole = self._severities[name]
        done = max((sum(_row_of(c) == name for c in own) for own in self._cells), default=0)
        return f"{done}/{whole}" if whole > 1 and 0 < done < whole else ""

    def _entry(self, name: str, column: int) -> str:
        found = self._figures.get((name, column))
        return "" if found is None else f"{percent(found.top1)} {half_width(found.interval):>5}"


def line(condition: Condition, cells: Sequence[tuple[str, Cell]]) -> str:
    """One finished condition in a line: 'fog/3: fixed 45.10 ±1.9, batch 51.20 ±1.9'."""
    return f"{condition}: {', '.join(f'{heading} {_one(cell)}' for heading, cell in cells)}"


def _one(cell: Cell) -> str:
    return f"{percent(cell.top1)} {half_width(rate_interval(cell))}"


def _row_of(condition: Condition) -> str:
    return condition.corruption if condition.is_corrupted else str(condition)


def _figure(cells: Sequence[Cell]) -> Measured:
    """Of one cell, or the mean over severities and corruptions of several."""
    if len(cells) == 1:
        return Measured(cells[0].top1, rate_interval(cells[0]))
    means = severity_means(cells)
    return Measured(sum(means.values()) / len(means), image_interval(cells, mean_weights(cells)))
