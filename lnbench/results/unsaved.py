"""A run that is kept in memory alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lnbench.results.blocks import Blocks
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import Early, Key, make_record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Unsaved:
    """What a run folder does, without a folder: the cells of one run as they are finished."""

    path: None = None

    def __init__(self, run: Run) -> None:
        self.run = run
        self.blocks = Blocks(None, run)
        self._cells: dict[Key, Cell] = {}

    def finished(self) -> frozenset[Key]:
        """The (mode, condition) pairs already done."""
        return frozenset(self._cells)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Finished cells in the suite's order."""
        return tuple(self._cells[key] for key in self.run.suite.keys if key in self._cells)

    def append(self, cells: Sequence[Cell]) -> None:
        """Add finished cells, which carry their bits."""
        self._cells.update((cell.key, cell) for cell in cells)

    def finish(
        self, *, labels: ArrayLike, ids: ArrayLike, sheet: bytes | None = None, early: Early | None = None
    ) -> Record:
        """The record, its cells in the suite's order with their bits; `early` as that of a run folder."""
        return make_record(self.run, *(early or (self.cells, None)))
