"""The run folders of an evaluation: what they held when it began, and what is added to them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lnbench.dist import Processes
from lnbench.evaluate import diagnose, record
from lnbench.evaluate.count import Result
from lnbench.evaluate.prepare import Images, Subject
from lnbench.norm.modes.registry import Mode
from lnbench.results import schema
from lnbench.results.notes import add_note
from lnbench.results.store import RunFolder
from lnbench.results.unsaved import Unsaved
from lnbench.types import Condition

Folder = RunFolder | Unsaved


class Folders:
    """One for each subject, or what stands in for it in memory. The first process alone opens any.

    `opened`: empty in the other processes. `done`: mode and condition of the cells that earlier calls
    finished, subject by subject, known to every process.
    """

    def __init__(
        self, subjects: Sequence[Subject], images: Images, opened: Sequence[Folder], processes: Processes
    ) -> None:
        self.subjects, self.images, self.opened = subjects, images, opened
        self.done = processes.broadcast([folder.finished() for folder in opened])
        self._place = {id(subject): number for number, subject in enumerate(subjects)}

    @property
    def cells(self) -> list[tuple[Subject, tuple[schema.Cell, ...]]]:
        """All cells so far of each subject whose folder is open here."""
        # Other processes than the first open none.
        return [(subject, one.cells) for subject, one in zip(self.subjects, self.opened, strict=False)]

    def hold(self, subject: Subject, mode: Mode, condition: Condition) -> bool:
        """Whether an earlier call finished that cell."""
        return (str(mode), condition) in self.done[self._place[id(subject)]]

    def note(self, subject: Subject, text: str) -> None:
        """Add a sentence to the record of a subject whose folder is open here. Raises RecordError."""
        if self.opened:
            add_note(self.opened[self._place[id(subject)]], text)

    def keep(
        self, condition: Condition, results: Sequence[tuple[Subject, Sequence[Result]]], pieces: int
    ) -> list[tuple[Subject, list[schema.Cell]]]:
        """Append the cells of a finished condition; `pieces`: in how many parts chunks are computed by now.

        The cells, where the folders are open, else none. Raises RecordError.
        """
        kept = []
        for subject, counts in results if self.opened else ():
            if pieces > 1:
                self.note(subject, f"device memory ran short: chunks computed in {pieces} parts")
            moved = None
            if subject.config.diagnose:
                moved = diagnose.shifts(subject, self.images, condition)
            if (text := record.left_out(counts[0], self.images.clean)) is not None:
                self.note(subject, text)
            cells = [record.cell(subject, result, self.images.clean, moved) for result in counts]
            self.opened[self._place[id(subject)]].append(cells)
            kept.append((subject, cells))
        return kept


def open_folders(
    stack: ExitStack,
    paths: Sequence[Path | None],
    runs: Sequence[schema.Run],
    *,
    fresh: bool,
    processes: Processes,
) -> list[Folder]:
    """Open each run's folder until `stack` ends, if this is the first process; no path, nothing on disk.

    Raises RecordError in every process, as for a folder of another run or one that is in use.
    """

    def opened() -> list[Folder]:
        return [_opened(stack, path, run, fresh) for path, run in zip(paths, runs, strict=True)]

    return processes.barrier(opened if processes.first else list)


def _opened(stack: ExitStack, path: Path | None, run: schema.Run, fresh: bool) -> Folder:
    if path is None:
        return Unsaved(run)
    return stack.enter_context(RunFolder.create_or_resume(path, run, fresh=fresh))
