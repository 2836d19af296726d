"""Figures made from cells: intervals, means over corruptions, mCE and relative mCE.

Definitions and AlexNet's errors: Hendrycks & Dietterich, arXiv 1903.12261, section 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import JsonValue

from lnbench.results.bits import unpack
from lnbench.results.draws import share_sums, standard_error, widened
from lnbench.results.schema import Cell, Gap, Interval, Run, Summary
from lnbench.types import CLEAN, CLEAN_NAME

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution

# AlexNet's mean top-1 error over the five severities, full ImageNet-C, in benchmark order: the
# denominators of mCE. The same digits stand in bethgelab/game-of-noise, hendrycks/robustness and
# facebookresearch/augmentation-corruption.
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
ALEXNET_CLEAN = 0.4348  # torchvision's AlexNet weights, as the paper's 43.5 %
BASELINE = "AlexNet on the published ImageNet-C files, 15 corruptions × 5 severities"
IMAGENET = 1000  # its classes
WNID = re.compile(r"n\d{8}")  # as WordNet and so ImageNet names a class
LEAST_SIDE = 128  # pixels, from which the table by size is ImageNet's
SEVERITIES = (1, 2, 3, 4, 5)
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # held out, never in mCE
ORDER = (*ALEXNET, *EXTRA)
ROUNDTRIP = "jpeg_roundtrip"  # an override that brings pixels nearer to the published files, not away


def corrupted_names(conditions: Iterable[tuple[str, float]]) -> list[str]:
    """Corruptions among `(name, severity)` of conditions, in the benchmark's order; no natural shifts."""
    return benchmark_order([name for name, severity in conditions if severity > 0])


def benchmark_order(names: Sequence[str]) -> list[str]:
    """Distinct corruption names in the benchmark's order, unknown ones last as they came, no `clean`."""
    seen = [name for name in dict.fromkeys(names) if name != CLEAN_NAME]
    return [name for name in ORDER if name in seen] + [name for name in seen if name not in ORDER]


def wilson(right: float, images: int) -> Interval:
    """95 % Wilson score interval of a rate `right / images`, as fractions. ValueError without images."""
    if images <= 0:
        raise ValueError("an interval needs at least one image")
    rate, square = right / images, Z95**2 / images
    centre = (rate + square / 2) / (1 + square)
    half = Z95 * math.sqrt(rate * (1 - rate) / images + square / (4 * images)) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def rate_interval(cell: Cell) -> Interval:
    """95 % interval of a cell's top-1: Wilson's, over images; wider where several draws say so."""
    over_images = wilson(round(cell.top1 * cell.images), cell.images)
    if cell.draws is None or cell.drawn < 2:
        return over_images
    error = standard_error([right - cell.top1 * images for images, right in cell.draws], cell.images)
    return _rates(widened(over_images, cell.top1, error, cell.drawn))


def _rates(interval: Interval) -> Interval:
    return max(0.0, interval[0]), min(1.0, interval[1])


def severity_means(cells: Sequence[Cell], metric: str = "top1") -> dict[str, float]:
    """A metric of each corruption, mean over the severities that have it; cells of one mode, not clean."""
    by_name: dict[str, list[float]] = {}
    for cell in (cell for cell in cells if cell.condition.is_corrupted):
        if (value := cell.scores.get(metric)) is not None:
            by_name.setdefault(cell.corruption, []).append(value)
    return {name: math.fsum(by_name[name]) / len(by_name[name]) for name in benchmark_order(list(by_name))}


def mean_weights(cells: Sequence[Cell]) -> list[float]:
    """Weight of each cell in the mean over corruptions of the mean over severities; 0 for clean."""
    names = [cell.corruption if cell.condition.is_corrupted else CLEAN_NAME for cell in cells]
    corruptions = len(benchmark_order(names))
    return [0.0 if n == CLEAN_NAME else 1 / (corruptions * names.count(n)) for n in names]


def mce_weights(cells: Sequence[Cell]) -> list[float]:
    """Weight of each cell's error in mCE: CE_c = Σ_s E / Σ_s E_AlexNet, mean over the 15."""
    scale = len(ALEXNET) * len(SEVERITIES)
    return [1 / (scale * ALEXNET[c.corruption]) if c.corruption in ALEXNET else 0.0 for c in cells]


def relative_mce_weights(cells: Sequence[Cell]) -> list[float]:
    """Weight of each cell's error in relative mCE; the clean error is taken from every severity."""
    scale = len(ALEXNET) * len(SEVERITIES)
    gaps = {name: error - ALEXNET_CLEAN for name, error in ALEXNET.items()}
    clean = -math.fsum(1 / (len(gaps) * gap) for gap in gaps.values())
    weights = {name: 1 / (scale * gap) for name, gap in gaps.items()} | {CLEAN_NAME: clean}
    return [weights.get(cell.corruption, 0.0) for cell in cells]


def weighted_error(cells: Sequence[Cell], weights: Sequence[float]) -> float:
    """Σ weight · error over cells."""
    return math.fsum(weight * (1 - cell.top1) for cell, weight in zip(cells, weights, strict=True))


def mce_obstacle(run: Run, present: Sequence[Cell]) -> str | None:
    """Why mCE is undefined for these cells of one mode, or None where it is defined."""
    suite = run.suite
    if suite.baseline is None:
        return "no mCE: the preset names no baseline"
    have = {(cell.corruption, cell.severity) for cell in present}
    missing = [(n, s) for n in ALEXNET for s in SEVERITIES if (n, s) not in have]
    if missing:
        done = len(ALEXNET) * len(SEVERITIES) - len(missing)
        return f"no mCE: {done} of the 75 conditions (15 corruptions × 5 severities) are in this run"
    if suite.backend != "precomputed" and suite.table != "imagenet":
        return f"no mCE: no published baseline fits the '{suite.table}' parameter table"
    if set(suite.overrides) - {ROUNDTRIP}:
        return "no mCE: the preset gives its own corruption parameters"
    if (run.model.classes or len(run.data.classes)) != IMAGENET:
        return "no mCE: AlexNet's errors are for the 1000 classes of ImageNet"
    if not _are_imagenets(run.data.classes):
        return "no mCE: the data's classes are not known to be ImageNet's (1000 of them, or wnids)"
    side = _side(run.model.preprocessing)
    if side is not None and side < LEAST_SIDE:
        return f"no mCE: AlexNet's errors are for images of 224 pixels, not of {side}"
    return None


def _are_imagenets(names: Sequence[str]) -> bool:
    return len(names) == IMAGENET or (bool(names) and all(WNID.fullmatch(name) for name in names))


def _side(preprocessing: Mapping[str, JsonValue]) -> int | None:
    """The shorter side of the images in pixels as crop, else resize, sets it; None where neither does."""
    for value in (preprocessing.get("crop"), preprocessing.get("resize")):
        sides = value if isinstance(value, list) else [value]
        found = [side for side in sides if isinstance(side, int)]
        if found:
            return min(found)
    return None


def mce_basis(run: Run) -> str:
    """What a defined mCE rests on, in a sentence."""
    suite, count = run.suite, len(run.data.classes)
    how = f"corrupted in memory ({suite.backend}), not those files themselves"
    basis = f"mCE against {BASELINE}; " + ("stored images" if suite.backend == "precomputed" else how)
    if count < IMAGENET:
        basis += f"; only {count} of its 1000 classes, for which AlexNet's errors are others"
    return basis


def corruption_set(cells: Sequence[Cell]) -> str:
    """Name what a mean over corruptions was taken over."""
    names = corrupted_names((cell.corruption, cell.severity) for cell in cells)
    severities = sorted({cell.severity for cell in cells if cell.condition.is_corrupted})
    count = f"{len(names)} corruption{'s' if len(names) != 1 else ''}"
    if not names:
        return "clean only"
    levels = ", ".join(f"{severity:g}" for severity in severities)
    if tuple(severities) == SEVERITIES:
        levels = "1–5"
    what = "the 15 of ImageNet-C" if tuple(names) == tuple(ALEXNET) else count
    return f"{what} × severities {levels}"


def image_interval(cells: Sequence[Cell], weights: Sequence[float]) -> Interval | None:
    """95 % interval of Σ weight · top1 over images, from the bits; None where cells have other images.

    Over images and draws where each cell has several.
    """
    used = [(c, w) for c, w in zip(cells, weights, strict=True) if w]
    images = {cell.images for cell, _ in used}
    if len(images) != 1 or any(cell.correct is None or cell.counted for cell, _ in used):
        return None
    import numpy as np

    (count,) = images
    total = np.zeros(count)  # (N,)
    for cell, weight in used:
        total += weight * unpack(str(cell.correct), count)
    if count < 2:
        return None
    half = Z95 * float(total.std(ddof=1)) / math.sqrt(count)
    mean = float(total.mean())
    interval = mean - half, mean + half
    draws = min(cell.drawn for cell, _ in used)
    if draws > 1:
        interval = widened(interval, mean, standard_error(share_sums(total, draws), count), draws)
    return _rates(interval)


def summarize(cells: Sequence[Cell], run: Run) -> dict[str, Summary]:
    """Summary of each mode of the run's suite, in the suite's order."""
    return {mode: _summary([c for c in cells if c.mode == mode], run) for mode in run.suite.modes}


def _summary(cells: list[Cell], run: Run) -> Summary:
    clean = next((cell for cell in cells if cell.condition == CLEAN), None)
    corrupted = [cell for cell in cells if cell.condition.is_corrupted]
    means = severity_means(corrupted)
    obstacle = mce_obstacle(run, cells)
    mce = relative = None
    if obstacle is None:
        mce = weighted_error(cells, mce_weights(cells))
        relative = weighted_error(cells, relative_mce_weights(cells)) if clean else None
    return Summary(
        clean_top1=clean.top1 if clean else None,
        clean_interval=rate_interval(clean) if clean else None,
        mean_corruption_top1=math.fsum(means.values()) / len(means) if means else None,
        mean_corruption_interval=image_interval(corrupted, mean_weights(corrupted)) if means else None,
        mce=mce,
        relative_mce=relative,
        mce_baseline=BASELINE if obstacle is None else None,
        mce_note=obstacle or mce_basis(run),
        corruption_set=corruption_set(cells),
        complete=len({cell.key for cell in cells}) == len(set(run.suite.conditions)),
        shifts=_gaps({cell.corruption: cell for cell in cells}, run),
    )


def _gaps(cells: Mapping[str, Cell], run: Run) -> dict[str, Gap]:
    """What is lost on each natural shift; `cells` of one mode by condition's name."""
    found = {}
    for name, shift in run.shifts.items():
        if name in cells:
            own, beside = cells[name].top1, cells.get(shift.beside)
            clean = None if beside is None else beside.top1
            gap = None if clean is None else clean - own
            found[name] = Gap(top1=own, interval=rate_interval(cells[name]), clean_top1=clean, gap=gap)
    return found
