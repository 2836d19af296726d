"""Why depth matters: what each norm layer of EfficientNet-Lite0 sees, image by image and under corruption.

    python -m benchmarks.depth_layers --shared SHARED      # benchmarks/results/depth_layers.json, minutes

For every norm layer, on 64 of the 600 photographs that are not tested on: the distance of the stored
statistics from those of the 64 images together under a corruption (lnbench/norm/distance.py, as `--diagnose`
has it), with every layer `fixed` and with the first in `local`; the mean distance of a single clean image's
statistics; and the pixels that these are taken from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.depth_study import LITE0, WORK, split
from lnbench import config
from lnbench.evaluate import evaluation
from lnbench.evaluate.stream import Stream
from lnbench.norm.distance import distance
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import NormLayers, Observation
from lnbench.types import CLEAN, Condition

RESULTS = Path(__file__).parent / "results" / "depth_layers.json"
IMAGES = 64
CORRUPTIONS = ("contrast", "fog", "brightness", "gaussian_noise", "defocus_blur")
FIRST = "local:layers=first1"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True, help="folder with checkpoints/ and data/")
    given = parser.parse_args()
    split(given.shared / "data" / "imagenet_sample_800.zip")
    torch.set_num_threads(1)
    chosen = {
        "model": LITE0,
        "weights": str(given.shared / "checkpoints" / "tf_efficientnet_lite0.safetensors"),
        "data": f"folder:{WORK / 'convert'}",
        "limit": IMAGES,
        "modes": ["fixed"],
        "corruptions": list(CORRUPTIONS),
        "severities": [5],
        "classes": "all",
    }
    ready = evaluation.prepare_all([config.resolve(config.load_preset("imagenet-c"), chosen)])
    subject, store = ready.subjects[0], ready.images.clean
    layers, classifier = subject.layers, subject.classifier

    def pixels(condition: Condition) -> Tensor:
        stream = Stream(store, condition, subject.config, classifier.device, seed=0, corrupted=False)
        return stream.pixels(stream.order)

    with torch.inference_mode():
        clean = pixels(CLEAN)
        sizes = _pixels_of(layers, lambda: classifier.logits(clean[:1]))
        singles = [
            _seen(layers, "fixed", lambda image=image: classifier.logits(image)) for image in clean.split(1)
        ]  # type: ignore[misc]
        spread = {name: sum(single[name] for single in singles) / len(singles) for name in sizes}
        together: dict[str, dict[str, dict[str, float]]] = {"fixed": {}, FIRST: {}}
        for condition in ready.images.conditions:
            corrupted = pixels(condition)
            for mode, found in together.items():
                found[str(condition)] = _seen(layers, mode, lambda: classifier.logits(corrupted))  # noqa: B023
    content = {"images": IMAGES, "pixels": sizes, "spread": spread, "together": together}
    RESULTS.write_text(json.dumps(content, indent=0) + "\n")


def _seen(layers: NormLayers, mode: str, forward: Callable[[], object]) -> dict[str, float]:
    """The distance of what each layer sees from what it stored, with the network in a mode."""
    layers.use(parse(mode), State())
    seen = layers.switch.seen = {}
    forward()
    layers.switch.seen = None
    return {
        layer.name: round(distance(Observation(layer.name, *layer.known.statistics, *seen[layer.name])), 4)
        for layer in layers.layers
    }


def _pixels_of(layers: NormLayers, forward: Callable[[], object]) -> dict[str, int]:
    """How many pixels each layer's statistics of one image are taken from."""
    found: dict[str, int] = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda module, inputs: found.update({module.name: inputs[0][0, 0].numel()})
        )
        for layer in layers.layers
    ]
    forward()
    for hook in hooks:
        hook.remove()
    return found


if __name__ == "__main__":
    main()
