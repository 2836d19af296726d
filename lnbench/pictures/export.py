"""Writing a corrupted dataset to disk for other tools, condition by condition, to go on with when stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lnbench.config import Selection
from lnbench.corruptions.rng import GENERATOR
from lnbench.data import loading, specs
from lnbench.data.store import Decoding
from lnbench.errors import DataError, UsageError
from lnbench.evaluate.loop import Progress
from lnbench.evaluate.stream import Stream
from lnbench.pictures.layouts import open_export
from lnbench.suite import Suite
from lnbench.types import Condition, Geometry


def export(
    suite: Suite,
    selection: Selection,
    root: Path,
    *,
    layout: str,
    quality: int | None = None,
    device: torch.device,
    decoding: Callable[[int, int], None] = lambda done, total: None,
    started: Callable[[Sequence[Condition], int], None] = lambda conditions, images: None,
    progress: Callable[[Progress], None] = lambda progress: None,
    finished: Callable[[Condition], None] = lambda condition: None,
) -> int:
    """Write every condition of a suite as ImageNet-C folders or CIFAR-C arrays; returns how many were new.

    `quality`: JPEG quality of the folders' files; None writes lossless PNG. Conditions that an earlier call
    finished are kept. Evaluating what is written, lossless, gives the numbers of the corruptions computed
    in memory, to the last image. Raises DataError, UsageError.
    """
    spec = specs.parse(selection.data, selection.root)
    if spec.precomputed:
        raise UsageError(f"{selection.data} is a corrupted set already; give the clean images")
    geometry = Geometry(selection.resize, selection.crop, selection.interpolation)
    store = loading.open_store(
        spec,
        Decoding(
            geometry, selection.limit, selection.seed,
            skip_unreadable=selection.skip_unreadable, on_progress=decoding,
        ),
    )  # fmt: skip
    if not store.labelled:
        raise DataError(f"{store.source} has no labels, and a corrupted set lies in class folders")
    suite = suite.model_copy(update={"table": suite.table_for(min(store.images.shape[2:]))})
    identity = {
        "data": store.fingerprint,
        "seed": str(selection.seed),
        "generator": str(GENERATOR) if suite.backend == "native" else "",
        "table": suite.table,
        "backend": suite.backend,
        "parameters": str(suite.parameters),
        "jpeg_roundtrip": str(suite.jpeg_roundtrip),
    }
    writer = open_export(root, layout, store, suite.conditions, identity=identity, quality=quality)
    left = [condition for condition in suite.conditions if not writer.finished(condition)]
    started(left, len(store.labels))
    for condition in left:
        stream = Stream(store, condition, suite, device, seed=selection.seed, corrupted=False)
        seen = 0
        for positions in stream.chunks():
            with torch.inference_mode():
                pixels = stream.pixels(positions).cpu().numpy()
            writer.write(condition, positions, pixels)
            seen += len(positions)
            progress(Progress(condition, seen, len(store.labels)))
        writer.finish(condition)
        finished(condition)
    return len(left)
