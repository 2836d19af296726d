"""What a person sees of work that takes its time: a bar with rate and time left, and warnings above it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lnbench.files import counted, inert

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from lnbench.evaluate import loop
    from lnbench.evaluate.evaluation import Kept, Observer
    from lnbench.evaluate.plan import Plan
    from lnbench.types import Condition


def stderr() -> Console:
    """Where notes, warnings and progress go, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def _can_move(console: Console) -> bool:
    """Whether a bar can be drawn over itself: on a terminal, and in a notebook that has widgets."""
    from importlib.util import find_spec

    return find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """A progress bar on stderr with rate and time left; silent where it cannot move."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = stderr()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and _can_move(console)),
    ) as bar:
        yield bar


class Watch:
    """Shows a run while it goes on: decoding, conditions done, images per second, time left.

    Not `shown`, it says nothing: of several processes one speaks for all.
    """

    def __init__(self, shown: bool = True) -> None:
        self._stack = ExitStack()
        self._shown = shown

    def __enter__(self) -> Watch:
        self._bar = self._stack.enter_context(progress(self._shown))
        self._task: TaskID | None = None
        self._images = self._done = 0
        self._since = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def observer(self) -> Observer:
        """What `evaluation` tells this display."""
        from lnbench.evaluate.evaluation import Observer

        return Observer(
            decoding=self.decoding,
            header=self._header,
            started=self._planned,
            progress=self.progressed,
            finished=self.finished,
            warning=self.warn,
        )

    def warn(self, text: str) -> None:
        """A warning above the bar."""
        if self._shown:
            self._bar.console.print(inert(f"warning: {text}", 4000), style="yellow", markup=False)

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""
        if self._task is None:
            self._task = self._bar.add_task("decoding", total=total, rate="")
        self._bar.update(self._task, completed=done, total=total)
        if done == total:
            self._bar.remove_task(self._task)
            self._task = None

    def counting(self, conditions: int, images: int) -> None:
        """Start of the conditions; a step of the bar is one image under one condition."""
        self._images, self._done, self._since = images, 0, time.monotonic()
        if conditions:
            self._task = self._bar.add_task("", total=conditions * images, rate="")

    def progressed(self, progress: loop.Progress) -> None:
        """Images of the condition in flight."""
        if self._task is not None:
            images = self._done * self._images + progress.images
            rate = f"{images / max(1e-6, time.monotonic() - self._since):,.0f} images/s"
            self._bar.update(self._task, completed=images, description=str(progress.condition), rate=rate)

    def finished(self, condition: Condition, cells: Kept = ()) -> None:
        """A condition is complete."""
        self._done += 1

    def _header(self, text: str) -> None:
        if self._shown:
            self._bar.console.print(inert(text, 4000), style="dim", markup=False)

    def _planned(self, plan: Plan, cells: Kept) -> None:
        if plan.cells_left < plan.cells and self._shown:
            done = plan.cells - plan.cells_left
            self._bar.console.print(
                f"{done} of {counted(plan.cells, 'cell')} {'is' if done == 1 else 'are'} finished already",
                style="dim",
                markup=False,
            )
        self.counting(plan.conditions_left, plan.images)
