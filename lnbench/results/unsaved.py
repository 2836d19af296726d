"""A run that is kept in memory alone, from its start or from what a folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.errors import RecordError
from lnbench.files import one_line
from lnbench.results.blocks import Blocks
from lnbench.results.marks import refuse_strangers
from lnbench.results.reading import CELLS, RUN
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import Early, Key, continued, make_record, read_cells

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Unsaved:
    """What a run folder does, without a folder: the cells of one run as they are finished.

    `path`: the folder that `cells` and `blocks` were read from, which is not written.
    """

    def __init__(
        self,
        run: Run,
        cells: Mapping[Key, Cell] | None = None,
        blocks: Blocks | None = None,
        path: Path | None = None,
    ) -> None:
        self.run, self.path = run, path
        self.blocks = Blocks(None, run) if blocks is None else blocks
        self._cells: dict[Key, Cell] = dict(cells or {})

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


def peek(path: Path, run: Run, *, fresh: bool = False) -> Unsaved:
    """What a run folder would go on with; nothing is made, locked or written.

    RecordError where `RunFolder.create_or_resume` would refuse the folder, unless another run holds it or the
    disk does.
    """
    if path.exists() and not path.is_dir():
        raise RecordError(f"cannot make the run folder {one_line(path)}: it is a file")
    refuse_strangers(path)
    if fresh or not (path / RUN).exists():
        return Unsaved(run)
    stored, _ = continued(path, run)
    cells, _ = read_cells(path / CELLS, stored, repair=False)
    return Unsaved(stored, cells, Blocks(path, stored, repair=False), path)
