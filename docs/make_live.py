"""Write what a terminal of 80 columns shows while the demo runs into docs/plan.md and README.md.

    python docs/make_live.py

What lies between the marks is replaced; the README takes the second picture. The times are this machine's.
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lnbench import config
from lnbench.evaluate import evaluation
from lnbench.memory import keep_freed
from lnbench.progress import Watch

ROOT = Path(__file__).parents[1]
COMMAND = "lnbench evaluate --preset demo --model demo"
MOMENTS = (0.02, 0.45, 0.9)  # of the work


class Recorder(Watch):
    """A display on a terminal that nobody looks at, with a picture of each moment kept."""

    def __enter__(self) -> Recorder:
        super().__enter__()
        self._moving = True
        self._console = Console(file=io.StringIO(), width=80, height=24, highlight=False, color_system=None)
        self.said: list[str] = []
        self.pictures: list[str] = []
        return self

    def _say(self, text: str, style: str = "") -> None:
        self.said.append(self._printed(text))

    def _draw(self, name: str) -> None:
        super()._draw(name)
        due = len(self.pictures)
        if self._bar is not None and due < len(MOMENTS) and self._bar.share >= MOMENTS[due]:
            self.pictures.append(self._printed(self._picture()))

    def _printed(self, what: object) -> str:
        console = Console(file=io.StringIO(), width=80, highlight=False, color_system=None)
        console.print(what, markup=False)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def recorded() -> tuple[str, list[str]]:
    """What is said before the first condition, and the pictures."""
    keep_freed()
    asked = config.resolve(config.load_preset("demo"), {"model": "demo", "data": "demo", "device": "cpu"})
    with Recorder() as watch:
        prepared = evaluation.prepare_all([asked], observer=watch.observer())
        evaluation.evaluate(prepared, [None], observer=watch.observer())
    return "\n".join(watch.said), watch.pictures


def put(file: Path, block: str) -> None:
    """Replace what lies between the marks of a page."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- live -->\n")
    _, _, after = rest.partition("<!-- /live -->")
    file.write_text(f"{before}<!-- live -->\n{block}\n<!-- /live -->{after}", encoding="utf-8")


def main() -> None:
    said, pictures = recorded()
    put(ROOT / "docs" / "plan.md", "\n\n".join(
        f"```text\n{part}\n```" for part in (f"$ {COMMAND}\n{said}", *pictures)))  # fmt: skip
    put(ROOT / "README.md", f"```text\n{pictures[1]}\n```")


if __name__ == "__main__":
    main()
