"""What a person sees of work that takes its time: the table as it fills, a bar with the time left, warnings.

On a terminal and in a notebook they are drawn over themselves; elsewhere every finished condition is a
line. Results go to stdout, all of this to stderr.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lnbench.files import inert

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.progress import Progress
    from rich.table import Table

    from lnbench.evaluate import loop
    from lnbench.evaluate.evaluation import Kept, Observer
    from lnbench.evaluate.plan import Key, Plan
    from lnbench.evaluate.remaining import Remaining
    from lnbench.results.render.live import Board
    from lnbench.types import Condition

_PAUSE = 0.1  # seconds between two pictures


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


@dataclass(frozen=True)
class _Bar:
    """The last line: what is done, how much of the whole, and until when, on `time.monotonic`'s clock."""

    name: str
    share: float
    rate: str
    until: float | None = None

    def line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from lnbench.evaluate.plan import clock

        left = "" if self.until is None else f"{clock(max(0.0, self.until - time.monotonic()))} left"
        grid = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(total=1.0, completed=self.share, width=20)
        grid.add_row(Text(self.name), bar, f"{100 * self.share:.0f} %", self.rate, left)
        return grid


class _Page:
    """What is said and drawn in a notebook: one output, shown anew each time, without any extension."""

    def __init__(self) -> None:
        self._said: list[RenderableType] = []
        self._handle: Any = None

    def say(self, text: str, style: str) -> None:
        from rich.text import Text

        self._said.append(Text(text, style=style))
        self.show()

    def show(self, *more: RenderableType) -> None:
        from IPython import display
        from rich.console import Console

        console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
        for part in (*self._said, *more):
            console.print(part)
        text = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        page = display.HTML(text)  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display.display(page, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(page)


class Watch:
    """Shows a run while it goes on: the plan, the table so far, images a second, time left.

    Not `shown`, it says nothing: of several processes one speaks for all.
    """

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown

    def __enter__(self) -> Watch:
        from rich.live import Live

        self._console = stderr()
        self._page = _Page() if self._shown and self._console.is_jupyter else None
        self._moving = self._page is not None or (self._shown and self._console.is_terminal)
        self._live: Live | None = None
        self._table: Table | None = None
        self._bar: _Bar | None = None
        self._board: Board | None = None
        self._work: Remaining | None = None
        self._keys: dict[int, int] = {}  # of subjects, by identity
        self._columns: dict[Key, int] = {}
        self._drawn = float("-inf")
        if self._moving and self._page is None:
            self._live = Live(get_renderable=self._picture, console=self._console, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._page is not None and self._bar is not None:
            self._page.show()

    def observer(self) -> Observer:
        """What `evaluation` tells this display."""
        from lnbench.evaluate.evaluation import Observer

        return Observer(
            decoding=self.decoding,
            header=self._header,
            started=self._planned,
            progress=self.progressed,
            counted=self._take,
            rounded=self._header,
            finished=self._counted,
            warning=self.warn,
            measured=self._shown,
        )

    def warn(self, text: str) -> None:
        """A warning above the bar."""
        self._say(f"warning: {text}", "yellow")

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""
        self._bar = _Bar("decoding", done / max(1, total), f"{done:,} of {total:,}") if done < total else None

    def counting(self, conditions: Sequence[Condition], images: int) -> None:
        """Start of work on conditions that cost about the same: a step is one image under one of them."""
        from lnbench.evaluate.plan import Step
        from lnbench.evaluate.remaining import Remaining

        self._work = Remaining([Step(one, images, {}, images) for one in conditions], measured=False)

    def progressed(self, progress: loop.Progress) -> None:
        """Images of the condition in flight."""
        if self._work is None:
            return
        self._work.progressed(progress.condition, progress.images)
        if self._moving and time.monotonic() - self._drawn > _PAUSE:
            self._draw("mixed" if progress.condition is None else str(progress.condition))

    def finished(self, condition: Condition) -> None:
        """A condition is complete."""
        if self._work is not None:
            self._work.finished(condition)
            self._draw(str(condition))

    def _take(self, condition: Condition, cells: Kept) -> None:
        """The cells of a condition, or what is known of them by now."""
        if not self._shown or self._work is None or self._board is None:
            return
        new = [((self._keys[id(one)], cell.mode), cell) for one, own in cells for cell in own]
        images = max((cell.images for _, cell in new), default=None)
        self._work.finished(condition, {key: cell.seconds or 0.0 for key, cell in new}, images)
        for key, cell in new:
            self._board.add(self._columns[key], cell)
        self._draw(str(condition))

    def _counted(self, condition: Condition, cells: Kept) -> None:
        """The whole cells of a condition."""
        self._take(condition, cells)
        if self._board is not None and condition in self._board.filled():
            self._board.finish(condition)
        if self._shown and not self._moving and self._work is not None and self._board is not None:
            from lnbench.evaluate.plan import clock
            from lnbench.results.render import live

            new = [((self._keys[id(one)], cell.mode), cell) for one, own in cells for cell in own]
            named = [(self._board.headings[self._columns[key]], cell) for key, cell in new]
            left = self._work.left()
            rest = "" if left is None else f", {clock(left)} left"
            self._say(f"{live.line(condition, named)} ({self._board.finished()}{rest})")

    def _header(self, text: str) -> None:
        self._say(text, "dim")

    def _planned(self, plan: Plan, cells: Kept) -> None:
        if not self._shown:
            return
        from lnbench.evaluate.plan import sentences
        from lnbench.evaluate.remaining import Remaining
        from lnbench.results.render.live import Board

        for text in sentences(plan):
            self._say(text, "dim")
        self._keys = {id(subject): number for number, subject in enumerate(plan.subjects)}
        self._columns = {key: column for column, key in enumerate(plan.modes)}
        self._board = Board([plan.label(key) for key in plan.modes], plan.conditions)
        self._work = Remaining(plan.steps, measured=plan.measured, world=plan.world)
        for subject, own in cells:
            for cell in own:
                self._board.add(self._columns[self._keys[id(subject)], cell.mode], cell)
        for condition in self._board.filled():
            self._board.finish(condition)
        self._draw("")

    def _say(self, text: str, style: str = "") -> None:
        if self._page is not None:
            self._page.say(inert(text, 4000), style)
        elif self._shown:
            self._console.print(inert(text, 4000), style=style, markup=False)

    def _draw(self, name: str) -> None:
        """Take the picture anew; the display's own thread only looks at what lies ready."""
        if not self._moving or self._work is None:
            return
        self._drawn = now = time.monotonic()
        if self._board is not None:
            self._table = self._board.table(self._console.width, self._console.height - 2)
        left = self._work.left()
        rate = f"{self._work.rate():,.0f} images/s"
        self._bar = _Bar(name, self._work.share(), rate, None if left is None else now + left)
        if self._page is not None:
            self._page.show(self._picture())

    def _picture(self) -> Group:
        from rich.console import Group

        bar = None if self._bar is None else self._bar.line()
        return Group(*(part for part in (self._table, bar) if part is not None))
