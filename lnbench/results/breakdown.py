"""What lies behind the pivot: curves over severity, calibration, losses by class, shifts by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lnbench.metrics import METRICS
from lnbench.results.correct import Correct
from lnbench.results.schema import Cell, Record
from lnbench.results.scores import benchmark_order, corrupted_names
from lnbench.types import CLEAN


@dataclass(frozen=True)
class Curve:
    """One mode of one run: `points` are (severity, top-1), clean as severity 0."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Reliability:
    """A mode's scores over some cells: each metric's mean over cells, and the confidence bins summed.

    `bins`: (images, mean confidence, accuracy) of each filled bin.
    """

    name: str
    scores: dict[str, float | None]
    bins: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class ClassLoss:
    """One class under one mode: images, clean top-1, mean top-1 over corruptions."""

    name: str
    images: int
    clean: float
    corrupted: float

    @property
    def loss(self) -> float:
        return self.clean - self.corrupted


def series_names(records: Sequence[Record], labels: Sequence[str]) -> list[tuple[Record, str, str]]:
    """(record, mode, name of the line) of every column, in the pivot's order."""
    names = list(labels) or [""] * len(records)
    return [
        (record, mode, f"{label} · {mode}" if label else mode)
        for record, label in zip(records, names, strict=True)
        for mode in record.suite.modes
    ]


def curves(records: Sequence[Record], labels: Sequence[str] = ()) -> dict[str, list[Curve]]:
    """For each corruption one curve for each mode, severities ascending."""
    names = corrupted_names(condition for record in records for condition in record.suite.conditions)
    found: dict[str, list[Curve]] = {}
    for corruption in names:
        found[corruption] = []
        for record, mode, name in series_names(records, labels):
            cells = [
                c for c in record.cells if c.mode == mode and c.corruption in (corruption, CLEAN.corruption)
            ]
            points = sorted((cell.severity, cell.top1) for cell in cells)
            found[corruption].append(Curve(name, tuple(points)))
    return found


def calibration(records: Sequence[Record], labels: Sequence[str] = (), *, clean: bool) -> list[Reliability]:
    """Calibration of each mode, over the clean cell or over all corrupted ones."""
    return [
        _reliability(
            name,
            [
                c
                for c in record.cells
                if c.mode == mode and (c.condition == CLEAN if clean else c.condition.is_corrupted)
            ],
        )
        for record, mode, name in series_names(records, labels)
    ]


def _reliability(name: str, cells: list[Cell]) -> Reliability:
    sums: list[list[float]] = []
    for cell in cells:
        for index, (images, confidence, right) in enumerate(cell.bins or ()):
            while len(sums) <= index:
                sums.append([0, 0.0, 0.0])
            sums[index] = [sums[index][0] + images, sums[index][1] + confidence, sums[index][2] + right]
    bins = tuple((int(n), conf / n, right / n) for n, conf, right in sums if n)
    return Reliability(name, {m: _mean([c.scores.get(m) for c in cells]) for m in METRICS}, bins)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def class_losses(record: Record, correct: Correct, mode: str) -> list[ClassLoss]:
    """Each class's accuracy under `mode`, the largest loss first; empty where labels or cells lack.

    The corrupted accuracy is the mean over the mode's corrupted cells.
    """
    import numpy as np

    labels = correct.labels
    clean = correct.flags.get((mode, CLEAN))
    corrupted = [flags for (name, c), flags in correct.flags.items() if name == mode and c.is_corrupted]
    if labels is None or clean is None or not corrupted:
        return []
    if any(len(flags) != len(labels) for flags in (clean, *corrupted)) or correct.own:
        return []
    mean = np.mean(corrupted, axis=0)  # (N,)
    names = record.data.classes
    found = []
    for index in np.unique(labels):
        own = labels == index
        name = names[index] if 0 <= index < len(names) else str(index)
        found.append(ClassLoss(name, int(own.sum()), float(clean[own].mean()), float(mean[own].mean())))
    return sorted(found, key=lambda entry: (-entry.loss, entry.name))


def shifts(record: Record) -> tuple[list[str], dict[str, list[float | None]]]:
    """Conditions, and for each norm layer its statistics' distance under each; empty without --diagnose.

    Of each corruption the most severe condition stands for it.
    """
    cells: dict[str, Cell] = {}
    for cell in record.cells:
        best = cells.get(cell.corruption)
        if cell.shifts and (best is None or cell.severity > best.severity):
            cells[cell.corruption] = cell
    order = [name for name in (CLEAN.corruption, *benchmark_order(list(cells))) if name in cells]
    layers = dict.fromkeys(layer for name in order for layer in cells[name].shifts or {})
    table = {layer: [(cells[name].shifts or {}).get(layer) for name in order] for layer in layers}
    return [str(cells[name].condition) for name in order], table
