"""Are the channels in the order the network was trained on? The labels tell: both orders are tried.

The first norm layer cannot: a photograph's channels are so alike that its inputs hardly move (docs/inputs.md
has the rates). A network that sees blue skies red finds the true labels less likely, image for image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lnbench.data.store import Store
from lnbench.evaluate.prepare import Subject
from lnbench.norm.wrap import FIXED

# More images where fewer leave it open; most runs know after the first look.
LOOKS = (64, 128, 256, 512)
_LEAST = 32  # images below which nothing is said
_SURE = 3.0  # standard errors by which the reversed order must be better
_CLEAR = -1.0  # below this the given order is right, and no more images are asked


def verdict(given: Sequence[float] | np.ndarray, reversed_: Sequence[float] | np.ndarray) -> float | None:
    """By how many standard errors the reversed order's NLL lies below the given one's, or None.

    Both (N,), of the same images in the same order; None where the images leave it open or show it is fine.
    """
    gain = np.asarray(given, float) - np.asarray(reversed_, float)
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) >= _LEAST else 0.0
    z = float(gain.mean() / error) if error > 0 else 0.0
    return z if z > _SURE else None


def is_clear(given: Sequence[float] | np.ndarray, reversed_: Sequence[float] | np.ndarray) -> bool:
    """Whether the given order is so much better already that no more images need to be asked."""
    gain = np.asarray(given, float) - np.asarray(reversed_, float)
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return bool(error > 0 and gain.mean() / error < _CLEAR)


def looks(images: int) -> list[int]:
    """After how many of the images it is judged."""
    return sorted({min(look, images) for look in LOOKS})


@torch.inference_mode()
def check_channels(subject: Subject, store: Store) -> Iterator[str]:
    """Yield a warning where the network does much better with the channels reversed."""
    count = min(LOOKS[-1], len(store.labels))
    if count < _LEAST:
        return
    spread = np.linspace(0, len(store.labels) - 1, count).astype(np.int64)
    order = np.random.default_rng(0).permutation(spread)  # folders are sorted by class
    subject.layers.use(FIXED)
    given: list[float] = []
    flipped: list[float] = []
    for stop in looks(count):
        while len(given) < stop:
            part = order[len(given) : min(len(given) + LOOKS[0], stop)]
            pixels = torch.from_numpy(store.images[np.sort(part)]).to(subject.classifier.device)
            labels = _labels(subject, store.labels[np.sort(part)])
            given += _nll(subject.classifier.logits(pixels), labels)
            flipped += _nll(subject.classifier.logits(pixels.flip(1)), labels)
        z = verdict(given, flipped)
        if z is not None:
            yield (
                f"{subject.name}: {stop} images fit their labels better with the channels reversed (NLL "
                f"{np.mean(flipped):.2f} instead of {np.mean(given):.2f}, {z:.1f} standard errors): are they "
                "stored in BGR order?"
            )
            return
        if is_clear(given, flipped):
            return


def _labels(subject: Subject, labels: np.ndarray) -> Tensor:
    found = torch.from_numpy(labels).to(subject.classifier.device)
    return found if subject.columns is None else subject.columns[found]


def _nll(logits: Tensor, labels: Tensor) -> list[float]:
    return [float(value) for value in F.cross_entropy(logits, labels, reduction="none").cpu()]
