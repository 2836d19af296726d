"""The record of `lnbench choose`: which mode was proposed, on what it was chosen, and what the others did."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lnbench.errors import RecordError, UsageError
from lnbench.files import one_line, read_bytes, write_atomic

KIND = "lnbench choice"
_MOST_BYTES = 1 << 24
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Figure(BaseModel):
    """What one mode did. Shares (0–1) of images answered as the untouched network answers the clean image.

    `clean`: of clean images; `cost`: 1 − clean, with half of its 95 % interval. `corrupted`: of the tuning
    conditions, mean; `gain` over `fixed` there, with half of its 95 % interval over images; None where
    nothing corrupted was asked for. `time`: of `fixed`.
    """

    model_config = _FROZEN

    mode: str
    clean: float
    cost_half: float
    corrupted: float | None = None
    gain: float | None = None
    gain_half: float | None = None
    time: float

    @property
    def cost(self) -> float:
        return 1 - self.clean

    @property
    def gained(self) -> str:
        """The gain in points with half of its interval; a dash for `fixed` and where there is none."""
        if self.mode == "fixed" or self.gain is None or self.gain_half is None:
            return "–"
        return f"{100 * self.gain:+.1f} ± {100 * self.gain_half:.1f}"


class Seen(BaseModel):
    """What a choice was made on. `names`: of the images, as their source has them; labels were not used."""

    model_config = _FROZEN

    source: str
    names: tuple[str, ...]
    preset: str | None = None
    corruptions: tuple[str, ...] = ()
    severities: tuple[float, ...] = ()


class Chosen(BaseModel):
    """A chosen mode, the weights and what was seen for it: what a run in that mode keeps on record."""

    model_config = _FROZEN

    mode: str
    sha256: str | None
    seen: Seen

    def check(self, corruptions: tuple[str, ...]) -> None:
        """Raise UsageError where the mode would be reported on corruptions that it was chosen by."""
        both = sorted(set(self.seen.corruptions) & set(corruptions))
        if both:
            raise UsageError(
                f"mode '{self.mode}' was chosen by {', '.join(both)}: figures on them say nothing about "
                "others; evaluate others, such as those of --preset imagenet-c"
            )

    def note(self, source: str, names: tuple[str, ...], sha256: str | None) -> str:
        """One sentence for the record of a run of a network on images of these names."""
        again = len(set(self.seen.names) & set(names)) if source == self.seen.source else 0
        tuned = f"tuned on {', '.join(self.seen.corruptions)}" if self.seen.corruptions else "clean alone"
        shared = f"; {again} of them are among the images evaluated here" if again else ""
        images = f"{len(self.seen.names)} images of {self.seen.source} without labels"
        other = "" if sha256 == self.sha256 else ", for other weights"
        return f"mode {self.mode} was chosen on {images}, {tuned}{other}{shared}"


class Choice(BaseModel):
    """All of it. `most`: the largest cost that was allowed; `figures`: of every candidate, `fixed` first."""

    model_config = _FROZEN

    kind: str = Field(default=KIND, pattern=f"^{KIND}$")
    lnbench: str
    model: str
    weights: str | None
    seed: int
    most: float
    chosen: Chosen
    figures: tuple[Figure, ...]

    @property
    def figure(self) -> Figure:
        """Of the mode that was chosen."""
        return next(one for one in self.figures if one.mode == self.chosen.mode)


def write(choice: Choice, path: Path) -> None:
    """Write a choice; it replaces another one, but no other file. Raises RecordError, UsageError."""
    check_place(path)
    content = choice.model_dump(mode="json")
    lines = [json.dumps(figure) for figure in content.pop("figures")]
    head = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    figures = ",\n  ".join(lines)
    write_atomic(path, f'{{{head},\n "figures": [\n  {figures}\n ]}}\n'.encode())


def check_place(path: Path) -> None:
    """Raise UsageError where no choice can be written: no folder, or another file."""
    if not path.parent.is_dir():
        raise UsageError(f"-o {one_line(path)}: there is no folder {one_line(path.parent)}")
    if path.is_symlink() or path.exists():
        try:
            read(path)
        except RecordError:
            raise UsageError(f"-o {one_line(path)} is no choice of lnbench: it is not overwritten") from None


def read(path: Path) -> Choice:
    """Read what `write` wrote. Raises RecordError."""
    try:
        return Choice(**json.loads(read_bytes(path, most=_MOST_BYTES)))
    except (ValueError, TypeError, RecursionError, ValidationError):
        raise RecordError(f"{one_line(path)} is no choice that `lnbench choose` wrote") from None


def propose(figures: tuple[Figure, ...], most: float) -> Figure:
    """The mode to take: of those that cost at most `most`, the one that gains most.

    Where no corruption was seen, the one that takes most of the image's own statistics for that cost: the
    last of `local`, which are in the order of their depth. `fixed`, the first figure, where none is better.
    """
    affordable = [one for one in figures if one.cost <= most + 1e-9]
    if figures[0].gain is None:
        local = [one for one in affordable if one.mode.startswith("local")]
        return local[-1] if local else figures[0]
    best = max(affordable, key=lambda one: (one.gain or 0.0, -one.cost), default=figures[0])
    return best if (best.gain or 0.0) > 0 else figures[0]


def sentences(choice: Choice, path: str) -> Iterator[str]:
    """What the figures are, what is proposed, and what to run next, one text each."""
    seen, best = choice.chosen.seen, choice.figure
    levels = ", ".join(f"{severity:g}" for severity in seen.severities)
    tuned = f"; corrupted: {', '.join(seen.corruptions)} at severity {levels}" if seen.corruptions else ""
    yield (
        f"Percent of {len(seen.names)} images of {seen.source} that are answered as the untouched network "
        f"answers the clean image; no label was used{tuned}. Time: of fixed."
    )
    cost = f"{100 * best.cost:.1f} ± {100 * best.cost_half:.1f} points of clean answers change"
    if best.gain is None:
        yield f"Proposed: {best.mode}. Cost: {cost}. Gain: unknown, as no corruption was seen (--tune-on)."
    elif best.mode == "fixed":
        yield f"Proposed: fixed. No candidate gains at a cost of at most {100 * choice.most:g} points."
    else:
        doubt = "; within chance, so look at more images (-n)" if best.gain <= (best.gain_half or 0.0) else ""
        yield (
            f"Proposed: {best.mode}. Expected gain: {best.gained} points, somewhat too good for the best of "
            f"{len(choice.figures)}{doubt}. Cost: {cost}."
        )
    weights = "" if choice.weights is None else f" --weights {shlex.quote(choice.weights)}"
    yield (
        f"Next: lnbench evaluate --preset imagenet-c --model {shlex.quote(choice.model)}{weights} --data … "
        f"--norm fixed --norm {shlex.quote(path)}"
    )
