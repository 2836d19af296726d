"""Images to learn from: opened, fit for the network, and some of them held out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lnbench.data import batches, loading, specs
from lnbench.data.store import Decoding, Store
from lnbench.errors import DataError
from lnbench.types import Geometry

_HELD_OUT = 0.1  # of the images, at most:
_MOST_HELD_OUT = 5000


def open_images(
    spec: str,
    geometry: Geometry,
    network: nn.Module,
    decoding: Callable[[int, int], None],
    *,
    labelled: bool = True,
) -> Store:
    """Decode images at the network's resolution; where `labelled`, the network must have the classes.

    Raises DataError for images that the network cannot take, and for one part of a set that nobody named.
    """
    store = loading.open_store(specs.parse(spec), Decoding(geometry, on_progress=decoding))
    if store.part:  # chosen to be evaluated, so not what anything is learned from
        raise DataError(f"{spec}: holds several parts; give the folder of the one to learn from, not {spec}")
    with torch.inference_mode():
        try:
            classes = network.eval()(torch.zeros(1, *store.images.shape[1:])).shape[1]
        except RuntimeError as error:
            raise DataError(
                f"{store.source}: the network cannot take its images: {str(error)[:100]}"
            ) from None
    if labelled and not store.labelled:
        raise DataError(f"{store.source} has no labels to learn from; --distill needs none")
    if labelled and int(store.labels.max()) >= classes:
        raise DataError(f"{store.source} has {len(store.classes)} classes, the network only {classes}")
    return store


def held_out(store: Store, seed: int, *, labelled: bool = True) -> np.ndarray:
    """Positions of a tenth of the images, at most 5,000: class-balanced, or drawn whatever their labels."""
    count = max(1, min(round(_HELD_OUT * len(store.labels)), _MOST_HELD_OUT))
    if not labelled:
        return np.sort(batches.shuffled(len(store.labels), seed)[:count])
    return batches.subset(store.labels, count, seed)
