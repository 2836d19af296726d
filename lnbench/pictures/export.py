"""Writing a corrupted dataset to disk for other tools, condition by condition, to go on with when stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from lnbench.config import RunConfig
from lnbench.data.store import Decoding
from lnbench.errors import UsageError
from lnbench.evaluate import prepare
from lnbench.evaluate.loop import Progress
from lnbench.evaluate.stream import Stream
from lnbench.pictures.layouts import open_export
from lnbench.types import Condition, Geometry


def export(
    config: RunConfig,
    root: Path,
    *,
    layout: str,
    geometry: Geometry,
    quality: int | None = None,
    decoding: Callable[[int, int], None] = lambda done, total: None,
    started: Callable[[int, int], None] = lambda conditions, images: None,
    progress: Callable[[Progress], None] = lambda progress: None,
    finished: Callable[[Condition], None] = lambda condition: None,
) -> int:
    """Write every condition of `config` as ImageNet-C folders or CIFAR-C arrays; returns how many were new.

    `quality`: JPEG quality of the folders' files; None writes lossless PNG. Conditions that an earlier call
    finished are kept. Evaluating what is written, lossless, gives the numbers of the corruptions computed
    in memory, to the last image. Raises DataError, UsageError.
    """
    images = prepare.open_images(config, Decoding(geometry, on_progress=decoding))
    if images.precomputed:
        raise UsageError(f"{config.data} is a corrupted set already; give the clean images")
    store = images.clean
    config = prepare.settle(config, store)
    device = prepare.device_of(config.device)
    identity = {
        "data": store.fingerprint,
        "seed": str(config.seed),
        "table": config.table,
        "backend": config.backend,
        "parameters": str(config.parameters),
        "jpeg_roundtrip": str(config.jpeg_roundtrip),
    }
    writer = open_export(root, layout, store, images.conditions, identity=identity, quality=quality)
    left = [condition for condition in images.conditions if not writer.finished(condition)]
    started(len(left), len(store.labels))
    for condition in left:
        stream = Stream(store, condition, config, device, corrupted=False)
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
