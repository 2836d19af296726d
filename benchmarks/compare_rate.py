"""How often does `lnbench compare` fail when nothing changed, and how small a loss does it catch?

    python -m benchmarks.compare_rate > benchmarks/results/compare_rate.md

Each comparison draws fresh images. An image has a difficulty; a condition shifts it; each network adds its
own reaction to the image (shared by all its conditions, as real networks' mistakes are) and to the pair of
image and condition. Both networks have the same distribution, so no difference is real. The default rule is
used: a significant loss (0.05, Holm) of clean or mean corruption top-1 in any of three modes.

A loss is a shift of every margin, of the size at which the mean over the nine corrupted conditions, over all
images there could be, falls by just the points that the table names. The last table puts to the test what
`compare` says of itself: the smallest loss it would have found. Half an hour on one core, the same tables
every time.
"""

from __future__ import annotations

import argparse
import math
from statistics import NormalDist

import numpy as np

from lnbench.results.compare import Change, Comparison, compare
from lnbench.results.correct import Correct
from lnbench.results.environment import Environment
from lnbench.results.schema import Cell, Data, Model, Record, RecordedSuite, Run
from lnbench.results.scores import wilson
from lnbench.results.store import make_record
from lnbench.types import Condition

MODES = ("fixed", "batch", "local")
CONDITIONS = (("clean", 0), *((name, s) for name in ("gaussian_noise", "fog", "contrast") for s in (1, 3, 5)))
# How unlike the two networks are: the spread of each network's own reaction to an image.
HARDNESS = 1.5
ALIKE = {"fine-tuned copy": 0.15, "other training": 0.6, "other architecture": 1.5}


def simulate(
    images: int, spread: float, loss: float, seed: int, losing: tuple[str, ...] = MODES
) -> Comparison:
    """One comparison of two networks whose reaction to an image has standard deviation `spread`.

    The second is worse by `loss`, a fraction of the mean corruption top-1, in the modes that are `losing`.
    """
    random = np.random.default_rng(seed)
    difficulty = random.normal(0, HARDNESS, images)  # (N,)
    shift = margin_of(loss, spread)
    (base, base_bits), (new, new_bits) = (
        _network(difficulty, spread, dict.fromkeys(losing, own), random) for own in (0.0, shift)
    )
    return compare(base, new, base_bits, new_bits)


def margin_of(loss: float, spread: float) -> float:
    """The shift of every margin that costs this much mean corruption top-1, by bisection."""
    width = math.sqrt(HARDNESS**2 + 2 * spread**2)  # of a margin, over all images and networks
    levels = [level(severity) / width for name, severity in CONDITIONS if name != "clean"]
    phi = NormalDist().cdf

    def cost(shift: float) -> float:
        return math.fsum(phi(at) - phi(at - shift / width) for at in levels) / len(levels)

    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) < loss else (low, middle)
    return high


def level(severity: float) -> float:
    """The mean margin of an image at a severity."""
    return 1.5 - 0.4 * severity


def _network(
    difficulty: np.ndarray, spread: float, shifts: dict[str, float], random: np.random.Generator
) -> tuple[Record, Correct]:
    images = len(difficulty)
    own = random.normal(0, spread, (images, 1))  # the same in every condition
    flags, cells = {}, []
    for mode in MODES:
        levels = np.array([level(severity) for _, severity in CONDITIONS])
        noise = random.normal(0, spread, (images, len(CONDITIONS)))
        margin = levels - difficulty[:, None] + own + noise - shifts.get(mode, 0.0)  # (N, conditions)
        for column, (corruption, severity) in enumerate(CONDITIONS):
            right = margin[:, column] > 0
            flags[mode, Condition(corruption, severity)] = right
            cells.append(
                Cell(
                    mode=mode,
                    corruption=corruption,
                    severity=severity,
                    images=images,
                    scores={"top1": float(right.mean())},
                )
            )
    return make_record(_run(images), cells), Correct(flags)


def _run(images: int) -> Run:
    return Run(
        config={},
        suite=RecordedSuite(table="cifar", backend="native", seed=0, modes=MODES, conditions=CONDITIONS),
        model=Model(spec="simulated", source="simulated"),
        data=Data(spec="simulated", source="simulated", fingerprint="0", images=images, total=images),
        environment=Environment(lnbench="", python="", platform="", packages={}, device="cpu", threads=1),
    )


def failures(images: int, spread: float, loss: float, draws: int) -> int:
    """How many of `draws` comparisons fail."""
    return sum(not simulate(images, spread, loss, seed).passed for seed in range(draws))


def told(images: int, spread: float, draws: int) -> tuple[float, float]:
    """The smallest loss of the mean of `fixed` that `compare` names, and how often such a loss is found."""
    unchanged = [_fixed_mean(simulate(images, spread, 0.0, seed)) for seed in range(20)]
    smallest = float(np.mean([change.detectable or 0.0 for change in unchanged]))
    found = [
        _fixed_mean(simulate(images, spread, smallest, 1000 + seed, ("fixed",))).verdict == "worse"
        for seed in range(draws)
    ]
    return smallest, float(np.mean(found))


def _fixed_mean(comparison: Comparison) -> Change:
    return next(change for change in comparison.headlines if change.name == "fixed/mean_corruption_top1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("# How often `lnbench compare` fails\n")
    print(f"`python -m benchmarks.compare_rate --draws {draws}`; the default rule, stated rate 5 %; three")
    print("modes, ten conditions. In brackets the 95 % Wilson interval.\n")
    print(f"No change ({draws} comparisons each):\n")
    print("| networks | images | failed | rate |")
    print("|:--|--:|--:|--:|")
    for name, spread in ALIKE.items():
        for images in (100, 846):
            failed = failures(images, spread, 0.0, draws)
            low, high = wilson(failed, draws)
            print(f"| {name} | {images} | {failed} | {failed / draws:.1%} ({low:.1%}–{high:.1%}) |")
    few = max(1, draws // 5)
    print(f"\nA real loss everywhere ({few} comparisons each), share that is caught:\n")
    print("| networks | images | 0.5 points | 1 point | 2 points |")
    print("|:--|--:|--:|--:|--:|")
    for name, spread in ALIKE.items():
        # Sign flips take time in proportion to the images that differ.
        for images in (300, 846, 5000) if spread < 1 else (300, 846):
            caught = [failures(images, spread, points / 100, few) / few for points in (0.5, 1, 2)]
            print(
                f"| {name} | {images} | " + " | ".join(f"{share:.0%}" for share in caught) + " |", flush=True
            )
    print("\nWhat `compare` says it would have found 4 times in 5, for the mean of `fixed`, and how often a")
    print(f"loss of that size in `fixed` alone is found ({few} comparisons each):\n")
    print("| networks | images | smallest loss, points | found |")
    print("|:--|--:|--:|--:|")
    for name, spread in ALIKE.items():
        for images in (300, 846):
            smallest, share = told(images, spread, few)
            print(f"| {name} | {images} | {100 * smallest:.2f} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
