"""What a person at the terminal sees besides tables: notes, warnings and a progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from lnbench.evaluate import loop
    from lnbench.evaluate.evaluation import Observer, Plan
    from lnbench.types import Condition


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def stderr() -> Console:
    """Where notes, warnings and progress go, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def note(text: str) -> None:
    stderr().print(text, style="dim", markup=False)


def warn(text: str) -> None:
    stderr().print(f"warning: {text}", style="yellow", markup=False)


def show_plan(plan: Plan, places: Sequence[Path]) -> None:
    """What `--dry-run` says."""
    console = stdout()
    for name, folder in zip(plan.subjects, places, strict=True):
        console.print(f"{name} → {folder}", markup=False)
    console.print(
        f"{plan.conditions} conditions, {plan.cells} cells, {plan.images:,} images, "
        f"{plan.forwards:,} forward passes; images take {plan.store_bytes / 2**20:,.0f} MiB",
        markup=False,
    )


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """A progress bar on stderr with rate and time left; silent when stderr is not a terminal."""
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
        disable=not (shown and console.is_terminal),
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
            started=self._planned,
            progress=self.progressed,
            finished=self.finished,
            warning=self.warn,
        )

    def warn(self, text: str) -> None:
        """A warning above the bar."""
        if self._shown:
            self._bar.console.print(f"warning: {text}", style="yellow", markup=False)

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

    def finished(self, condition: Condition) -> None:
        """A condition is complete."""
        self._done += 1

    def _planned(self, plan: Plan) -> None:
        if plan.cells_left < plan.cells and self._shown:
            done = plan.cells - plan.cells_left
            self._bar.console.print(
                f"{done} of {plan.cells} cells are finished already", style="dim", markup=False
            )
        self.counting(plan.conditions_left, plan.images)
