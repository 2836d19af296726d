"""Small made-up runs for the tests of this part: every figure follows from a seed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from lnbench.results.bits import pack
from lnbench.results.environment import Environment
from lnbench.results.schema import Cell, Data, Model, RecordedSuite, Run
from lnbench.results.scores import ALEXNET
from lnbench.results.store import RunFolder

WNIDS = tuple(f"n{1440764 + number:08d}" for number in range(1000))
SHORT = (("gaussian_noise", 1), ("gaussian_noise", 5), ("contrast", 1), ("contrast", 5))
FULL = tuple((name, severity) for name in ALEXNET for severity in (1, 2, 3, 4, 5))


def make_run(
    *,
    modes: tuple[str, ...] = ("fixed", "batch", "local"),
    conditions: tuple[tuple[str, float], ...] = SHORT,
    images: int = 40,
    seed: int = 0,
    generator: int | None = 2,
    table: str | None = "cifar",
    classes: int = 4,
    names: tuple[str, ...] = ("cat", "dog", "owl", "yak"),
    fingerprint: str = "f" * 64,
    sha256: str = "a" * 64,
    spec: str = "cifar:resnet20",
    preset: str | None = "core",
    deviations: tuple[str, ...] = (),
) -> Run:
    """A run of `images` images; clean comes first."""
    return Run(
        command="lnbench evaluate --preset core --model cifar:resnet20",
        started="2026-01-02T03:04:05+00:00",
        config={"seed": seed, "limit": None, "batch_size": 20},
        suite=RecordedSuite(
            preset=preset,
            table=table,
            backend="native",
            seed=seed,
            generator=generator,
            modes=modes,
            conditions=(("clean", 0), *conditions),
            baseline="alexnet",
        ),
        model=Model(
            spec=spec,
            source="a file",
            weights="net.th",
            sha256=sha256,
            classes=classes,
            norm_layers=19,
            parameters=272474,
        ),
        data=Data(
            spec="npz:test.npz",
            source="npz:test.npz",
            fingerprint=fingerprint,
            images=images,
            total=images,
            classes=names,
        ),
        environment=Environment(
            lnbench="0.1.0",
            python="3.12.0",
            platform="Linux",
            packages={"torch": "2.11.0", "numpy": "2.4.0"},
            device="cpu",
            threads=2,
        ),
        deviations=deviations,
    )


def difficulty(images: int, seed: int = 7) -> np.ndarray:
    """How hard each image is, uniform in 0–1, (N,)."""
    return np.random.default_rng(seed).uniform(size=images)


def make_cells(run: Run, *, loss: float = 0.0, noise: int = 1) -> tuple[Cell, ...]:
    """Cells for every key: harder with severity, easier off `fixed`; `loss` lowers every rate."""
    images = run.data.images
    hard = difficulty(images)
    cells = []
    for number, (mode, condition) in enumerate(run.suite.keys):
        easier = 0.5 if mode == "fixed" else 0.2
        rate = 0.9 - easier * condition.severity / 5 - (0.05 if mode == "batch" else 0) - loss
        jitter = np.random.default_rng([noise, number]).normal(0, 0.05, images)
        right = hard + jitter < rate
        cells.append(
            Cell(
                mode=mode,
                corruption=condition.corruption,
                severity=condition.severity,
                images=images,
                scores={
                    "top1": float(right.mean()),
                    "top5": 1.0,
                    "nll": round(1 - rate / 2, 4),
                    "ece": round(0.05 + (1 - rate) / 4, 4),
                },
                seconds=0.25,
                batch_size=20 if mode == "batch" else None,
                bins=bins(right),
                correct=pack(right),
            )
        )
    return tuple(cells)


def rescored(cell: Cell, **scores: float | None) -> Cell:
    """The cell with other scores, and no bits, which would not fit them."""
    return cell.model_copy(update={"scores": {**cell.scores, **scores}, "correct": None})


def bins(right: np.ndarray) -> tuple[tuple[int, float, float], ...]:
    """A reliability histogram that fits `right`: all confidence in the last two of 15 bins."""
    half = len(right) // 2
    empty = [(0, 0.0, 0.0)] * 13
    parts = [(half, 0.9 * half, float(right[:half].sum()))]
    parts += [(len(right) - half, 0.97 * (len(right) - half), float(right[half:].sum()))]
    return tuple(empty + parts)


def labels(run: Run) -> np.ndarray:
    """Labels in turn, int64 (N,)."""
    return np.arange(run.data.images) % len(run.data.classes)


def screen(width: int = 80, encoding: str = "utf-8") -> tuple[Console, io.TextIOWrapper]:
    """A terminal without colour, `width` wide, and what it writes to."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=stream, width=width, color_system=None, legacy_windows=False), stream


def shown(stream: io.TextIOWrapper) -> str:
    """What was written to a `screen`."""
    stream.flush()
    stream.seek(0)
    return stream.read()


def fill(path: Path, run: Run) -> None:
    """The run in a folder of its own, from the cells that are there to the end."""
    with RunFolder.create_or_resume(path, run) as folder:
        left = [cell for cell in make_cells(run) if cell.key not in folder.finished()]
        folder.append(left)
        folder.finish(labels=labels(run), ids=np.arange(run.data.images))
