"""The words every part shares: plain frozen values, no torch, no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Baseline = Literal["alexnet"]  # the network whose published errors mCE is relative to
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]

CLEAN_NAME = "clean"


@dataclass(frozen=True, order=True)
class Condition:
    """One corruption at one severity; `clean` is the condition with severity 0.

    A natural shift, another test set of the same classes, has severity 0 too and a name of its own.
    Severities 1–5 are those of the tables; a preset may define others in between (2.5).
    """

    corruption: str
    severity: float

    @property
    def is_clean(self) -> bool:
        return self.corruption == CLEAN_NAME

    @property
    def is_corrupted(self) -> bool:
        """Whether images are corrupted: not the clean ones, nor those of a natural shift."""
        return self.severity > 0 and not self.is_clean

    def __str__(self) -> str:
        return f"{self.corruption}/{self.severity:g}" if self.is_corrupted else self.corruption


CLEAN = Condition(CLEAN_NAME, 0)


def shift(name: str) -> Condition:
    """The condition of a natural shift."""
    return Condition(name, 0)


def reference(name: str) -> Condition:
    """The clean images of a shift's classes, answered by the outputs that answer for the shift."""
    return Condition(f"{CLEAN_NAME}@{name}", 0)


@dataclass(frozen=True)
class Geometry:
    """How a decoded picture becomes the network's input, in pixels.

    `resize`: length of the shorter side (int), exact (height, width), or None for none;
    `crop`: side of the centre crop (int), (height, width), or None for none.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"


@dataclass(frozen=True)
class InputNormalization:
    """Per-channel mean and standard deviation of the input, on the 0–1 scale, RGB order."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
