"""Train the demo's two checkpoints: one network, budget and seed, with BatchNorm and with LocalNorm.

    python benchmarks/train_demo.py

takes a few minutes on one CPU core and writes lnbench/models/weights/demo-{batchnorm,localnorm}.safetensors.
Training sees clean crops only; no corruption is ever shown to either network. Run twice on one machine
and one release of torch, it writes the same weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lnbench import __version__
from lnbench.data.demo import open_demo
from lnbench.models import checkpoint
from lnbench.models.demo import demo_network
from lnbench.norm.convert import convert_localnorm
from lnbench.training.finetune import Standing, train
from lnbench.training.recipe import Recipe
from lnbench.types import InputNormalization

WEIGHTS = Path(__file__).parents[1] / "lnbench" / "models" / "weights"
GROUPS = 4
RECIPE = Recipe(epochs=30, lr=0.05, batch_size=16, weight_decay=5e-4, seed=0)
# Groups of four images, as the paper's authors have them for large images, and of one in turn: groups of four
# alone give a network that is lost with a single image, groups of one a network that is lost with a batch.
GROUP_IMAGES = (1, 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    options = parser.parse_args()
    # One thread: sums then never depend on how many cores a machine has.
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for norm in ("batchnorm", "localnorm"):
        train_one(norm, options.out / f"demo-{norm}.safetensors", epochs=options.epochs)


def train_one(
    norm: str,
    out: Path,
    *,
    epochs: int = RECIPE.epochs,
    group_images: tuple[int, ...] = GROUP_IMAGES,
    seed: int = RECIPE.seed,
) -> None:
    """Train one network from scratch and write it."""
    images, labels, classes = open_demo("train")
    torch.manual_seed(seed)
    network = demo_network(len(classes))  # the same first weights for both
    recipe = Recipe(**{**asdict(RECIPE), "epochs": epochs, "seed": seed})
    if norm == "localnorm":
        convert_localnorm(network, groups=GROUPS)
        recipe = Recipe(**{**asdict(recipe), "group_images": group_images})
    normalization = InputNormalization()
    started = time.perf_counter()
    train(network, images, labels, recipe, normalization=normalization, report=show)
    print(f"{norm}: {time.perf_counter() - started:.0f} s")
    metadata = {
        "classes": json.dumps(classes),
        "mean": json.dumps(normalization.mean),
        "std": json.dumps(normalization.std),
        "groups": str(GROUPS if norm == "localnorm" else 1),
        "recipe": json.dumps(asdict(recipe)),
        "trained_by": "benchmarks/train_demo.py",
        "versions": f"lnbench {__version__}, torch {torch.__version__}, numpy {np.__version__}, "
        f"python {platform.python_version()}",
    }
    checkpoint.write(out, network.state_dict(), extras={}, metadata=metadata)


def show(standing: Standing) -> None:
    if standing.step == standing.steps:
        print(f"  epoch {standing.epoch + 1}/{standing.epochs}: loss {standing.loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
