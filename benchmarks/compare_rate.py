"""How often does `lnbench compare` fail when nothing changed, and how small a loss does it catch?

    python -m benchmarks.compare_rate > benchmarks/results/compare_rate.md

Each comparison draws fresh images. An image has a difficulty; a condition shifts it; each network adds its
own reaction to the image (shared by all its conditions, as real networks' mistakes are) and to the pair of
image and condition. Both networks have the same distribution, so no difference is real. The default rule is
used: a significant loss (0.05, Holm) of clean or mean corruption top-1 in any of three modes. Minutes on one
core, the same table every time.
"""

from __future__ import annotations

import argparse

import numpy as np

from lnbench.results.compare import compare
from lnbench.results.correct import Correct
from lnbench.results.schema import Cell, Data, Environment, Model, Record, RecordedSuite, Run
from lnbench.results.scores import wilson
from lnbench.results.store import make_record
from lnbench.types import Condition

MODES = ("fixed", "batch", "local")
CONDITIONS = (("clean", 0), *((name, s) for name in ("gaussian_noise", "fog", "contrast") for s in (1, 3, 5)))
# How unlike the two networks are: the spread of each network's own reaction to an image.
ALIKE = {"fine-tuned copy": 0.15, "other training": 0.6, "other architecture": 1.5}


def simulate(images: int, spread: float, loss: float, seed: int) -> bool:
    """One comparison of two networks whose reaction to an image has standard deviation `spread`.

    The second is worse by `loss` (in accuracy, about) everywhere. Returns whether it fails.
    """
    random = np.random.default_rng(seed)
    difficulty = random.normal(0, 1.5, images)  # (N,)
    records = [_network(difficulty, spread, shift, random) for shift in (0.0, loss)]
    (base, base_bits), (new, new_bits) = records
    return not compare(base, new, base_bits, new_bits).passed


def _network(
    difficulty: np.ndarray, spread: float, loss: float, random: np.random.Generator
) -> tuple[Record, Correct]:
    images = len(difficulty)
    own = random.normal(0, spread, (images, 1))  # the same in every condition
    flags, cells = {}, []
    for mode in MODES:
        level = np.array([1.5 - 0.4 * severity for _, severity in CONDITIONS])
        noise = random.normal(0, spread, (images, len(CONDITIONS)))
        # Accuracy falls by about `loss`: the density of the margin at zero is near 0.2.
        margin = level - difficulty[:, None] + own + noise - loss / 0.2  # (N, conditions)
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
    return sum(simulate(images, spread, loss, seed) for seed in range(draws))


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
        for images in (846, 5000):
            caught = [failures(images, spread, points / 100, few) / few for points in (0.5, 1, 2)]
            print(f"| {name} | {images} | " + " | ".join(f"{share:.0%}" for share in caught) + " |")


if __name__ == "__main__":
    main()
