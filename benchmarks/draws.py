"""How much do the images drawn by `adapt`, and the order that `batch` groups by, move a figure?

    python -m benchmarks.draws --shared ../shared > benchmarks/results/draws.md

The pixels, noise included, are the same in every repetition: only the draw changes, or the order. ResNet-20
on 846 lossless CIFAR-10 images. Minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from lnbench import config
from lnbench.data.batches import shuffled
from lnbench.evaluate import evaluation
from lnbench.evaluate.prepare import Subject
from lnbench.evaluate.stream import Stream
from lnbench.norm.modes.registry import Mode, make
from lnbench.norm.state import State
from lnbench.results.draws import answering, share_sums, standard_error, widened
from lnbench.results.scores import wilson

BATCHES = (16, 64, 128)
CHUNK = 94  # 846 = 9 · 94


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with checkpoints/ and data/")
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=8, help="runs of the mode with several draws")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {
        "model": "cifar:resnet20",
        "weights": str(given.shared / "checkpoints/cifar10_resnet20-12fca82f.th"),
        "data": f"npz:{given.shared / 'data/cifar10_test_846.npz'}",
        "corruptions": ["contrast", "gaussian_noise"],
        "severities": [5],
        "modes": ["fixed"],
    }
    ready = evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])
    subject, store = ready.subjects[0], ready.images.clean
    print("# What the draw of `adapt` and the grouping of `batch` move\n")
    print(f"`python -m benchmarks.draws --shared SHARED --draws {given.draws} --repeats {given.repeats}`;")
    print(f"ResNet-20, {len(store.labels)} images, the same pixels in every repetition; percentage points.\n")
    print("| mode | condition | repetitions | mean | sd | least | most | ± over images | ± over both |")
    print("|:--|:--|--:|--:|--:|--:|--:|--:|--:|")
    streams = [
        Stream(store, c, subject.config, torch.device("cpu"), seed=0, corrupted=False)
        for c in ready.images.conditions
    ]
    for n in (8, 32, 128):
        for stream in streams:
            row(f"adapt:n={n}", stream, [drawn(subject, stream, n, (k,)) for k in range(given.draws)])
    for stream in streams:
        many = [
            drawn(subject, stream, 32, range(k * given.draws, (k + 1) * given.draws))
            for k in range(given.repeats)
        ]
        row(f"adapt:n=32,draws={given.draws}", stream, many, draws=given.draws)
    for size in BATCHES:
        for stream in streams:
            orders = [grouped(subject, stream, size, k) for k in range(given.draws)]
            row(f"batch, {size} images", stream, orders)


def row(name: str, stream: Stream, right: list[np.ndarray], draws: int = 1) -> None:
    """Print how the accuracy of repetitions, each bool (N,), spreads."""
    rates, images = [100 * flags.mean() for flags in right], len(right[0])
    spread = np.std(rates, ddof=1)
    widths = [wilson(int(flags.sum()), images) for flags in right]
    drawn_too = "–"
    if draws > 1:
        wide = [
            widened(
                width, flags.mean(), standard_error(share_sums(flags.astype(float), draws), images), draws
            )
            for width, flags in zip(widths, right, strict=True)
        ]
        drawn_too = f"{half(wide):.1f}"
    print(
        f"| `{name}` | {stream.condition} | {len(rates)} | {np.mean(rates):.1f} | {spread:.2f} "
        f"| {min(rates):.1f} | {max(rates):.1f} | {half(widths):.1f} | {drawn_too} |",
        flush=True,
    )


def half(intervals: list[tuple[float, float]]) -> float:
    """Half the mean width, in points."""
    return float(np.mean([50 * (high - low) for low, high in intervals]))


def drawn(subject: Subject, stream: Stream, n: int, numbers: tuple[int, ...] | range) -> np.ndarray:
    """Which images `adapt` gets right with those draws: bool (N,)."""
    draws = len(numbers)
    mode, state = make("adapt", n=n, draws=draws if draws > 1 else None), State()
    subject.layers.use(mode, state)
    with torch.no_grad():
        mode.begin(
            subject.classifier.logits,
            lambda count, number: stream.pixels(stream.drawn(count, numbers[number])),
            state,
        )
    shares = torch.from_numpy(answering(len(stream.order), draws)) if draws > 1 else None
    return counted(subject, stream, mode, state, stream.order, CHUNK, shares)


def grouped(subject: Subject, stream: Stream, size: int, seed: int) -> np.ndarray:
    """Which images `batch` gets right in the order of a seed: bool (N,)."""
    return counted(subject, stream, make("batch"), State(), shuffled(len(stream.order), seed), size)


def counted(
    subject: Subject,
    stream: Stream,
    mode: Mode,
    state: State,
    order: np.ndarray,
    size: int,
    shares: torch.Tensor | None = None,
) -> np.ndarray:
    """Which images are right in batches of `size` along `order`, the last one filled up from its start."""
    subject.layers.use(mode, state)
    right = np.zeros(len(order), bool)
    with torch.no_grad():
        for start in range(0, len(order), size):
            own = order[start : start + size]
            batch = np.concatenate([own, order[: size - len(own)]])
            state.draw = None if shares is None else shares[torch.from_numpy(batch)]
            predicted = subject.classifier.logits(stream.pixels(batch)).argmax(1)
            right[own] = (predicted == stream.labels(batch)).numpy()[: len(own)]
    return right


if __name__ == "__main__":
    main()
