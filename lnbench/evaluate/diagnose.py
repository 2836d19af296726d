"""Where a network breaks: how far each norm layer's inputs lie from the statistics it stored."""

from __future__ import annotations

import math

import torch

from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.stream import Stream
from lnbench.norm.distance import distances
from lnbench.types import Condition

_IMAGES = 128


@torch.inference_mode()
def shifts(subject: Subject, images: Images, condition: Condition) -> dict[str, float]:
    """Layer name → distance between stored and observed statistics under a condition, mode `fixed`.

    Observed on the first 128 images of the run's seeded shuffle. See `norm.distance` for the measure. A layer
    that saw values which are not numbers has no distance and is left out.
    """
    classifier, config = subject.classifier, subject.config
    stream = Stream(
        images.of(condition), condition, config, classifier.device,
        seed=config.seed, corrupted=images.precomputed,
    )  # fmt: skip
    pixels = stream.pixels(stream.shuffled[:_IMAGES])
    seen = subject.layers.observe(lambda: classifier.logits(pixels))
    found = {one.name: round(value, 4) for one, value in zip(seen, distances(seen), strict=True)}
    return {name: value for name, value in found.items() if math.isfinite(value)}
