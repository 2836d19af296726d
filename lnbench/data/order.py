"""The order of a stream's images: shuffled, sorted by class, or correlated in time by NOTE's sampler.

A mode that takes its statistics from a batch, or adapts along the stream, gives other answers in another
order. An order is a function of the labels and a seed alone, the same on every machine.

`dirichlet:delta=D` is the sampler of NOTE (Gong et al., NeurIPS 2022, arXiv 2208.05117; `learner/dnn.py` of
the authors' repository), so called because other papers' "Dirichlet" orders are other samplers. As many
chunks as there are classes follow each other. Each class is dealt to them by shares drawn from a symmetric
Dirichlet distribution with parameter D, chunks that hold their even share of all images already being left
out; within a chunk the classes come one after another, in random order. It is drawn again until each chunk
holds ten images. Two differences: the chunks are as many as classes among the images, and where an even
share is less than forty images, a quarter of it is asked for instead of ten, since ten could not be had.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from lnbench.errors import UsageError, unknown
from lnbench.lazy import np

if TYPE_CHECKING:
    from lnbench.hashing import Indices

SHUFFLED, SORTED, DIRICHLET = "shuffled", "sorted", "dirichlet"
_DELTA = 0.1  # NOTE's own
_LEAST = 10  # images of a chunk
_TRIES = 500


class Order(NamedTuple):
    """A kind of order and, for `dirichlet`, its parameter. `str(order)` reads back as the same order."""

    kind: str
    delta: float | None = None

    def __str__(self) -> str:
        return self.kind if self.delta is None else f"{self.kind}:delta={self.delta:g}"


def parse(text: str) -> Order:
    """Read `shuffled`, `sorted`, `dirichlet` or `dirichlet:delta=0.1`. Raises UsageError."""
    kind, _, rest = text.strip().partition(":")
    if kind not in (SHUFFLED, SORTED, DIRICHLET):
        raise unknown("order", kind, (SHUFFLED, SORTED, DIRICHLET))
    if kind != DIRICHLET:
        if rest:
            raise UsageError(f"order '{text}': {kind} takes no options")
        return Order(kind)
    match = re.fullmatch(r"delta=(\d{0,6}\.?\d{0,6})", rest or f"delta={_DELTA}", re.ASCII)
    delta = float(match[1]) if match and match[1].strip(".") else 0.0
    if not 0.01 <= delta <= 1e6:
        raise UsageError(f"order '{text}': write dirichlet:delta=D with D from 0.01 (correlated) to 1000000")
    return Order(kind, delta)


def arrange(order: Order, labels: Indices, seed: int) -> Indices:
    """The positions 0 … N-1 of images with these labels in their order: int64 (N,).

    Raises UsageError where NOTE's sampler finds no chunks that are large enough.
    """
    from lnbench.data.batches import shuffled

    mixed = shuffled(len(labels), seed)
    if order.kind == SHUFFLED:
        return mixed
    classes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    if order.kind == SORTED:
        return mixed[np.argsort(classes[mixed], kind="stable")]
    return _dirichlet(float(order.delta or _DELTA), classes, mixed, seed)


def _dirichlet(delta: float, classes: Indices, mixed: Indices, seed: int) -> Indices:
    # NumPy has frozen the streams of RandomState for good (NEP 19); those of its successors may change.
    random = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32, 4])
    count = int(classes.max()) + 1
    members = [mixed[classes[mixed] == each] for each in range(count)]
    least = min(_LEAST, len(mixed) // (4 * count))
    for _ in range(_TRIES):
        chunks = _deal(delta, members, len(mixed), random)
        if np.bincount(np.concatenate(chunks), minlength=count).min() >= least:
            break
    else:
        raise UsageError(
            f"order dirichlet:delta={delta:g}: {_TRIES} draws left a chunk of less than {least} images; "
            "use a larger delta or more images"
        )
    turns = np.stack([random.permutation(count) for _ in range(count)])  # (chunk, class) -> place
    chunk = np.concatenate(chunks)
    positions = np.concatenate(members)
    return positions[np.lexsort((turns[chunk, classes[positions]], chunk))]


def _deal(delta: float, members: list[Indices], images: int, random: np.random.RandomState) -> list[Indices]:
    """The chunk of each image of each class."""
    held = np.zeros(len(members), np.int64)
    dealt = []
    for own in members:
        shares = random.dirichlet(np.full(len(members), delta)) * (held < images / len(members))
        if not shares.sum() > 0:  # all that was drawn lies on full chunks
            shares = (held < images / len(members)).astype(np.float64)
        cuts = (np.cumsum(shares / shares.sum())[:-1] * len(own)).astype(np.int64)
        sizes = np.diff(cuts, prepend=0, append=len(own))
        held += sizes
        dealt.append(np.repeat(np.arange(len(members)), sizes))
    return dealt
