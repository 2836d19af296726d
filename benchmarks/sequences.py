"""Confidence sequences on real results: whether they hold, how often the gate errs, how many images it takes.

    python -m benchmarks.sequences RUN [RUN …] > benchmarks/results/sequences.md
    python -m benchmarks.sequences RUN --only gate     # or coverage, or images

RUN are run folders of lnbench, finished or not: what each mode got right, image by image, under the
conditions that are there. A mode's clean accuracy, and its mean over conditions, is a set of values, one for
each image.

- Coverage: the share of random orders of such a set in which its mean lies outside the sequence at any moment
  that is looked at (every 16 images). At most 5 % is promised.
- The gate: the share of orders in which `worse` is said of two networks that are equally good on the set, and
  `not worse by more than 1 point` where it is 1.05 points; how often a loss of 2 points is found, and after
  how many images. Equally good networks are two modes of a run, the signs of their differences turned until
  the mean is 0 (or a trifle above); a loss takes conditions away from images drawn at random.
- Images: how many it takes to know the first run's clean and mean to ± 2, 1 and 0.5 points, at the ends of
  rounds as at every 16 images, in sets of 1,000, 10,000 and 50,000 drawn with replacement from the measured
  values; beside the number that would do if it were fixed before, for this set (with the correction for a
  finite population) and for other images of the kind. How many a decision takes, likewise, beside the number
  fixed before with which an interval would decide 4 times in 5.

Everything is seeded. 2,000 orders of six sets of 10,000 images take four minutes of one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lnbench.evaluate.cut import ends
from lnbench.results import gate, sequences
from lnbench.results.bits import unpack

SETS = (1_000, 10_000, 50_000)
WIDTHS = (0.02, 0.01, 0.005)
AT_ONCE = 50  # orders that are followed together
UNIT = 64  # images that a round's end divides
MARGIN = 0.01
Z95, Z80 = 1.959963984540054, 0.8416212335729143


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--orders", type=int, default=2_000, help="random orders of each set (%(default)s)")
    parser.add_argument("--draws", type=int, default=100, help="orders that images are counted in")
    parser.add_argument("--only", choices=("coverage", "gate", "images"), help="one of the three tables")
    given = parser.parse_args()
    sets = {name: values for run in given.runs for name, values in figures(run).items()}
    names = " ".join(run.name for run in given.runs)
    print(f"`python -m benchmarks.sequences {names} --orders {given.orders} --draws {given.draws}`")
    if given.only in (None, "coverage"):
        coverage(sets, given.orders)
    if given.only in (None, "gate"):
        errors(sets, given.orders)
    if given.only in (None, "images"):
        images(dict(list(sets.items())[:2]), given.draws)
        decisions(sets, given.draws)


def figures(run: Path) -> dict[str, np.ndarray]:
    """The values of each figure of a run, float (N,), by its name: of the images that all its cells count."""
    cells: dict[str, dict[str, np.ndarray]] = {}
    for mode, condition, flags in flags_of(run):
        cells.setdefault(mode, {})[condition] = flags
    found = {}
    for mode, own in cells.items():
        found[f"{run.name}, {mode}, clean"] = own["clean/0"] * 1.0
        corrupted = [flags for name, flags in own.items() if name != "clean/0"]
        if corrupted:
            found[f"{run.name}, {mode}, mean of {len(corrupted)}"] = np.mean(corrupted, 0)
    return found


def flags_of(run: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Mode, condition and what was right, bool (N,), of every cell; of a run in rounds, as far as all got."""
    if (run / "cells.jsonl").exists():
        for line in (run / "cells.jsonl").read_text().splitlines():
            cell = json.loads(line)
            yield (
                cell["mode"],
                f"{cell['corruption']}/{cell['severity']}",
                unpack(cell["correct"], cell["images"]),
            )
        return
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for line in (run / "blocks.jsonl").read_text().splitlines():
        block = json.loads(line)
        flags = unpack(block["correct"], block["stop"] - block["start"])
        parts.setdefault((block["mode"], f"{block['corruption']}/{block['severity']}"), []).append(flags)
    whole = {key: np.concatenate(flags) for key, flags in parts.items()}
    least = min(map(len, whole.values()))
    for (mode, condition), flags in whole.items():
        yield mode, condition, flags[:least]


def orders(values: np.ndarray, count: int, seed: int) -> Iterator[np.ndarray]:
    """`count` random orders of a set, some at a time: float (AT_ONCE, N)."""
    random = np.random.default_rng(seed)
    for start in range(0, count, AT_ONCE):
        yield random.permuted(np.tile(values, (min(AT_ONCE, count - start), 1)), axis=1)


def row(*entries: object) -> None:
    print("| " + " | ".join(str(entry) for entry in entries) + " |", flush=True)


def head(title: str, *columns: str) -> None:
    print(f"\n## {title}\n")
    row(*columns)
    row(*["---"] * len(columns))


def left(values: np.ndarray, count: int) -> int:
    """In how many of `count` orders the set's mean is out at some moment."""
    mean, size, passed = float(values.mean()), len(values), sequences.refuting(sequences.LEVEL)
    found = 0
    for some in orders(values, count, seed=1):
        more = sequences.log_capital(some, size, mean).max(-1)
        less = sequences.log_capital(1 - some, size, 1 - mean).max(-1)
        found += int((np.maximum(more, less) >= passed).sum())
    return found


def fixed_left(values: np.ndarray, count: int) -> int:
    """The same of the interval for a fixed number of images, looked at every 16 images from the 160th on."""
    mean, size = float(values.mean()), len(values)
    at = np.arange(159, size - 1, sequences.LOOK)
    found = 0
    for some in orders(values, count, seed=1):
        seen = at + 1
        means = some.cumsum(1)[:, at] / seen
        variance = np.maximum((some**2).cumsum(1)[:, at] / seen - means**2, 1e-12)
        half = Z95 * np.sqrt(variance / seen * (1 - seen / size))
        found += int((abs(means - mean) > half).any(1).sum())
    return found


def coverage(sets: dict[str, np.ndarray], count: int) -> None:
    head(
        f"Coverage: {count:,} orders of real results",
        "figure", "images", "mean", "spread", "sequence ever left", "interval for a fixed number ever left",
    )  # fmt: skip
    for name, values in sets.items():
        rates = (f"{100 * of(values, count) / count:.2f} %" for of in (left, fixed_left))
        row(name, f"{len(values):,}", f"{100 * values.mean():.2f}", f"{100 * values.std():.1f}", *rates)


def equal(differences: np.ndarray) -> np.ndarray:
    """The differences with signs turned so that their mean is 0, or less than one image's above."""
    size = np.sort(abs(differences))[::-1]
    total, turned = 0.0, []
    for value in size:
        turned.append(-value if total > 0 else value)
        total += turned[-1]
    found = np.array(turned)
    return found if found.mean() >= 0 else -found


def worse(differences: np.ndarray, loss: float, step: float) -> np.ndarray:
    """The differences with `loss` less in the mean, taken in steps from images that have one to lose."""
    random, found = np.random.default_rng(2), differences.copy()
    steps = round((loss + differences.mean()) * len(found) / step)
    for at in random.permutation(np.flatnonzero(found > step - 1))[:steps]:
        found[at] -= step
    return found


def answers(differences: np.ndarray, count: int, margin: float) -> tuple[list[str], list[int]]:
    found = [
        gate.outcome_of(one, len(one), margin, sequences.LEVEL)
        for some in orders(differences, count, seed=3)
        for one in some
    ]
    return [outcome for outcome, _ in found], [seen for _, seen in found]


def errors(sets: dict[str, np.ndarray], count: int) -> None:
    head(
        f"The gate: {count:,} orders of real paired differences, margin {100 * MARGIN:g} point",
        "figures", "images", "images that differ", "equal: `worse`", "equal: images, middle",
        "1.05 points worse: `not worse by more`", "2 points worse: `worse`", "images, middle",
    )  # fmt: skip
    for old, new, differences in pairs(sets):
        step = 1.0 if "clean" in old else 1 / int(old.rsplit(" ", 1)[1])
        same, near = equal(differences), worse(equal(differences), MARGIN * 1.05, step)
        lost = worse(equal(differences), 2 * MARGIN, step)
        said, seen = answers(same, count, MARGIN)
        wrong = answers(near, count, MARGIN)[0]
        found, after = answers(lost, count, MARGIN)
        row(
            f"{old} and {new.split(', ')[1]}", f"{len(same):,}", f"{100 * (differences != 0).mean():.0f} %",
            f"{100 * said.count('worse') / count:.1f} %", f"{np.median(seen):,.0f}",
            f"{100 * wrong.count('within') / count:.1f} %", f"{100 * found.count('worse') / count:.1f} %",
            f"{np.median(after):,.0f}",
        )  # fmt: skip


def pairs(sets: dict[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Two modes of one run: the first with each other one, figure by figure."""
    for old, values in sets.items():
        run, mode, figure = old.split(", ", 2)
        for new, others in sets.items():
            other_run, other, same = new.split(", ", 2)
            if run == other_run and figure == same and mode == "batch" and other.startswith("adapt"):
                yield old, new, others - values


def images(sets: dict[str, np.ndarray], count: int) -> None:
    head(
        f"Images it takes, the middle one of {count} orders",
        "figure", "set", "± points", "at the end of a round", "at every 16 images",
        "fixed before, for this set", "fixed before, for other images",
    )  # fmt: skip
    for name, values in sets.items():
        for size in SETS:
            for width in WIDTHS:
                random = np.random.default_rng(4)
                found = []
                for _ in range(count):
                    drawn = random.choice(values, size)
                    found.append((first_end(drawn, width), first_look(drawn, width)))
                rounds, looks = np.median(found, 0)
                other = (Z95 * float(values.std()) / width) ** 2
                here = other / (1 + other / size)
                row(name, f"{size:,}", f"{100 * width:g}", f"{rounds:,.0f}", f"{looks:,.0f}", f"{here:,.0f}",
                    f"{other:,.0f}")  # fmt: skip


def decisions(sets: dict[str, np.ndarray], count: int) -> None:
    head(
        f"Images a decision takes, the middle one of {count} orders",
        "figures", "set", "margin, points", "equal: `not worse by more`", "fixed before", "twice the margin "
        "worse: `worse`", "fixed before",
    )  # fmt: skip
    for old, new, differences in pairs(sets):
        step = 1.0 if "clean" in old else 1 / int(old.rsplit(" ", 1)[1])
        for size in SETS:
            for margin in WIDTHS:
                entries: list[str] = []
                for loss, difference in ((0.0, margin), (2 * margin, 2 * margin)):
                    values = worse(equal(differences), loss, step) if loss else equal(differences)
                    random = np.random.default_rng(5)
                    seen = [
                        gate.outcome_of(random.choice(values, size), size, margin, sequences.LEVEL)[1]
                        for _ in range(count)
                    ]
                    other = ((Z95 + Z80) * float(values.std()) / difference) ** 2
                    entries += [f"{np.median(seen):,.0f}", f"{other / (1 + other / size):,.0f}"]
                row(f"{old} and {new.split(', ')[1]}", f"{size:,}", f"{100 * margin:g}", *entries)


def is_known(values: np.ndarray, size: int, width: float) -> bool:
    """Whether the sequence lies within ± `width` of the mean so far."""
    mean, passed = float(values.mean()), sequences.refuting(sequences.LEVEL)
    if len(values) == size:
        return True
    return all(
        edge <= 0 or float(sequences.log_capital(own, size, edge).max()) >= passed
        for own, edge in ((values, mean - width), (1 - values, 1 - mean - width))
    )


def first_end(values: np.ndarray, width: float) -> int:
    return next(end for end in ends(len(values), UNIT) if is_known(values[:end], len(values), width))


def first_look(values: np.ndarray, width: float) -> int:
    """By bisection: the interval narrows with every image but for what one more moves its middle."""
    low, high = 0, -(-len(values) // sequences.LOOK)
    while high - low > 1:
        middle = (low + high) // 2
        known = is_known(values[: middle * sequences.LOOK], len(values), width)
        low, high = (low, middle) if known else (middle, high)
    return min(high * sequences.LOOK, len(values))


if __name__ == "__main__":
    main()
