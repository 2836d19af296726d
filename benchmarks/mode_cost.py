"""What each mode costs, relative to `fixed`.

    python -m benchmarks.mode_cost --weights RESNET20.th --data cifar10_test.npz

CPU time on one thread of a stream of batches of 200 CIFAR-10 images under gaussian noise, severity 5, through
ResNet-20 as `lnbench evaluate` runs it; the median over rounds of a mode's time beside that of `fixed` right
before and after it. What a mode does before the first batch (`adapt`, the Fisher information of `eata`) is
left out. The weights are those of akamaster/pytorch_resnet_cifar10; the npz holds `images`, uint8
(N, 32, 32, 3), N of at least 200. Writes results/mode_cost.json.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.turns import ratios
from lnbench.corruptions.native import corrupt
from lnbench.corruptions.registry import parameters
from lnbench.corruptions.rng import Key
from lnbench.memory import keep_freed
from lnbench.models.classifier import Classifier
from lnbench.models.load import load
from lnbench.norm.modes.registry import Mode, parse
from lnbench.norm.state import State
from lnbench.norm.wrap import NormLayers, attach

RESULTS = Path(__file__).parent / "results" / "mode_cost.json"
MODES = (
    "fixed", "batch", "local", "blend", "blend:scope=batch", "iabn", "adapt", "ema", "tent",
    "tent:optimizer=adam", "eta:d=0.4", "eata:fisher=200,alpha=1,d=0.4", "sar",
)  # fmt: skip
BATCH, BATCHES, ROUNDS = 200, 1, 7


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()
    loaded = load("cifar:resnet20", given.weights)
    classifier = Classifier(loaded.network, loaded.normalization)
    layers = attach(classifier.network, own=True)
    stream = noisy(given.data)
    clocks = {text: partial(seconds, parse(text), classifier, layers, stream) for text in MODES}
    found = {str(parse("fixed")): 1.0} | {
        str(parse(text)): round(ratio, 2)
        for text, ratio in ratios(clocks.pop("fixed"), clocks, ROUNDS).items()
    }
    for text, ratio in found.items():
        print(f"{ratio:6.2f}  {text}")
    RESULTS.write_text(json.dumps({"relative to fixed": found}, indent=1) + "\n")


def noisy(data: Path) -> list[Tensor]:
    """The batches: uint8 (200, 3, 32, 32) each."""
    with np.load(data) as stored:
        pixels = torch.from_numpy(stored["images"][: BATCH * BATCHES].transpose(0, 3, 1, 2).copy())
    key = Key(0, torch.arange(len(pixels)))
    noise = corrupt(pixels, "gaussian_noise", 5, key, parameters("cifar", "gaussian_noise", 5))
    return list(torch.split(noise, BATCH))


@torch.no_grad()
def seconds(mode: Mode, classifier: Classifier, layers: NormLayers, stream: list[Tensor]) -> float:
    """CPU time of the stream in a mode, from a fresh state."""
    state = State()

    def forward(pixels: Tensor) -> Tensor:
        layers.use(mode, state)
        return classifier.logits(pixels)

    mode.begin(forward, lambda count, number: stream[0][:count], state)
    start = time.process_time()
    for pixels in stream:
        mode.predict(forward, pixels, state, layers.groups)
    return time.process_time() - start


if __name__ == "__main__":
    main()
