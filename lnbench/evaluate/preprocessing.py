"""Is the input prepared as in training? Found out on clean images before the grid is spent on it.

Two witnesses. The first norm layer stored how its inputs were distributed: wrong ranges show there. It cannot
tell reversed channels, which are so alike in photographs that its inputs hardly move, nor two means and stds
that are near each other. The labels can: other preparations are tried, and a network that is fed wrongly
finds the true labels less likely, image for image. docs/inputs.md has the rates of misses and false alarms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lnbench.data.store import Store
from lnbench.evaluate.prepare import Subject
from lnbench.evaluate.stream import chunk_size
from lnbench.norm.distance import distance, pooled
from lnbench.norm.wrap import FIXED
from lnbench.types import InputNormalization

# The usual ones. The first layer never misses the last two, which are of another range.
USUAL = {
    "ImageNet mean/std": InputNormalization(),
    "CIFAR-10 mean/std": InputNormalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5": InputNormalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "--mean 0,0,0 --std 1,1,1 (plain 0–1)": InputNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "the 0–255 range (--mean 0,0,0 --std 0.00392,0.00392,0.00392)": InputNormalization(
        (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
    ),
}
_NEAR = 3  # of them are tried by the labels where there is a first layer to tell the rest

SEEN = 64  # images that the first layer is asked about
# A first layer whose inputs have moved by a quarter of a standard deviation is far outside what a
# sample of 64 images does by chance, and about the least that wrong preprocessing does.
SUSPICIOUS = 0.25

# More images where fewer leave it open; most runs know after the first look.
LOOKS = (64, 128, 256, 512)
_LEAST = 32  # images below which nothing is said
SURE = 3.0  # standard errors by which another preparation must be better
_WORSE = -1.0  # below this the given order of channels is right
# A mean and std a little off may fit better by chance or by a hair, where nothing is lost.
_PROMISING = 1.0  # above this a mean and std are asked about on
_GAIN = 0.8  # of the NLL is the most that a right mean and std leave of a wrong one's

Verdict = Literal["better", "open", "no better"]


@dataclass(frozen=True)
class Other:
    """Another way to prepare the same pixels: `normalization` None stands for reversed channels."""

    name: str
    normalization: InputNormalization | None = None

    def judge(
        self, given: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray, sure: float = SURE
    ) -> Verdict:
        """What the NLLs (N,) of the same images in the same order say, as given and prepared so."""
        z = standard_errors(given, other)
        if self.normalization is None:
            return "better" if z > sure else "no better" if z < _WORSE else "open"
        if z > sure and np.mean(other) <= _GAIN * np.mean(given):
            return "better"
        return "open" if z > _PROMISING else "no better"


def others(given: InputNormalization, *, first_layer: bool) -> list[Other]:
    """What is tried beside the given mean and std; `first_layer`: whether there is one to tell ranges."""
    usual = list(USUAL.items())[: _NEAR if first_layer else None]
    return [Other("channels reversed"), *(Other(name, each) for name, each in usual if each != given)]


def standard_errors(given: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """By how many of them the other NLL lies below the given one, paired; 0 where that cannot be said."""
    gain = np.asarray(given, float) - np.asarray(other, float)
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) >= _LEAST else 0.0
    return float(gain.mean() / error) if error > 0 else 0.0


def looks(images: int) -> list[int]:
    """After how many of the images it is judged."""
    return sorted({min(look, images) for look in LOOKS})


def check_preprocessing(subject: Subject, store: Store) -> Iterator[str]:
    """Yield a warning where the images are hardly those that the network was trained on; one at most.

    With values of another range no other preparation helps: one mistake at a time.
    """
    yield from list(check_first_layer(subject, store)) or check_by_labels(subject, store)


@torch.inference_mode()
def check_first_layer(subject: Subject, store: Store) -> Iterator[str]:
    """Compare what the first norm layer observes on clean images with what it stored.

    The given preprocessing is compared with the usual other ones; a warning names the figures.
    """
    if not len(subject.layers):
        return
    count = min(SEEN, len(store.labels))
    step = len(store.labels) // count
    pixels = torch.from_numpy(store.images[list(range(0, step * count, step))]).to(subject.classifier.device)
    chunks = _chunks(pixels)

    def shift(normalization: InputNormalization) -> float:
        trial = subject.classifier.renormalized(normalization)
        seen = [subject.layers.observe(partial(trial.logits, part))[0] for part in chunks]
        return distance(pooled(seen, [len(part) for part in chunks]))

    own = shift(subject.normalization)
    if own < SUSPICIOUS:
        return
    trials = {name: shift(other) for name, other in USUAL.items()}
    best, least = min(trials.items(), key=lambda item: item[1])
    if least <= own / 2:
        yield (
            f"{subject.name}: the first norm layer sees inputs {own:.2f} standard deviations from what it "
            f"was trained on; with {best} it would be {least:.2f}. Check --mean/--std and the channel order."
        )


@torch.inference_mode()
def check_by_labels(subject: Subject, store: Store) -> Iterator[str]:
    """Try other preparations; those that the labels speak against are dropped after each look."""
    count = min(LOOKS[-1], len(store.labels))
    if count < _LEAST:
        return
    spread = np.linspace(0, len(store.labels) - 1, count).astype(np.int64)
    order = np.random.default_rng(0).permutation(spread)  # folders are sorted by class
    subject.layers.use(FIXED)
    asked = others(subject.normalization, first_layer=bool(len(subject.layers)))
    given: list[float] = []
    nll: dict[str, list[float]] = {other.name: [] for other in asked}
    for stop in looks(count):
        while len(given) < stop:
            part = np.sort(order[len(given) : min(len(given) + LOOKS[0], stop)])
            pixels = torch.from_numpy(store.images[part]).to(subject.classifier.device)
            labels = _labels(subject, store.labels[part])
            chunks = _chunks(pixels)
            for some, their in zip(chunks, torch.split(labels, len(chunks[0])), strict=True):
                given += _nll(subject.classifier.logits(some), their)
                for other in asked:
                    nll[other.name] += _nll(_logits(subject, other, some), their)
        verdicts = {other: other.judge(given, nll[other.name]) for other in asked}
        for other in (each for each, verdict in verdicts.items() if verdict == "better"):
            yield _said(subject, other, given, nll[other.name])
            return
        asked = [other for other, verdict in verdicts.items() if verdict == "open"]
        if not asked:
            return


def _said(subject: Subject, other: Other, given: Sequence[float], better: Sequence[float]) -> str:
    figures = (
        f"(NLL {np.mean(better):.2f} instead of {np.mean(given):.2f}, "
        f"{standard_errors(given, better):.1f} standard errors)"
    )
    fit = f"{subject.name}: {len(given)} images fit their labels better with"
    if other.normalization is None:
        return f"{fit} the channels reversed {figures}: are they stored in BGR order?"
    return f"{fit} {other.name} {figures}: is that how it was trained? Check --mean/--std."


def _chunks(pixels: Tensor) -> tuple[Tensor, ...]:
    """The images (N, 3, H, W) in chunks as the run has them: more would take more memory than it does."""
    return torch.split(pixels, chunk_size(pixels.device, *pixels.shape[2:]))


def _logits(subject: Subject, other: Other, pixels: Tensor) -> Tensor:
    if other.normalization is None:
        return subject.classifier.logits(pixels.flip(1))
    return subject.classifier.renormalized(other.normalization).logits(pixels)


def _labels(subject: Subject, labels: np.ndarray) -> Tensor:
    found = torch.from_numpy(labels).to(subject.classifier.device)
    return found if subject.columns is None else subject.columns[found]


def _nll(logits: Tensor, labels: Tensor) -> list[float]:
    return [float(value) for value in F.cross_entropy(logits, labels, reduction="none").cpu()]
