"""Put the claims of LocalNorm (arXiv 1902.06550) to the test; writes docs/localnorm.md.

    python -m benchmarks.localnorm_study --checkpoint resnet20.th \\
        --train train.zip --test test.zip --lossless test.npz
    python -m benchmarks.localnorm_study --report

The first form trains and evaluates what benchmarks/results/localnorm_study.json lacks, cell by cell: stop it
and start it again as you like. `--only NAME` takes one network. The second form writes the document and its
plots from that file alone. Images are zipped class folders (train, test) and an npz of lossless ones.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import train_demo
from lnbench.config import load_preset, resolve
from lnbench.data import loading, specs
from lnbench.data.demo import open_demo
from lnbench.data.store import Decoding
from lnbench.evaluate import evaluation
from lnbench.memory import keep_freed
from lnbench.models import checkpoint, registry
from lnbench.norm.convert import convert_localnorm
from lnbench.results.correct import read_correct
from lnbench.results.reading import read
from lnbench.training.finetune import Standing, train
from lnbench.training.recipe import Recipe
from lnbench.types import InputNormalization

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "localnorm_study.json"
WORK = HERE.parent / "build" / "localnorm_study"

TRAIN_IMAGES = {32: 20_000, 64: 10_000}  # by side in pixels
TEST_IMAGES = {32: 2_000, 64: 1_000}
BATCH = 128  # of training, and of mode `batch`
RECIPE = Recipe(epochs=3, lr=0.03, batch_size=BATCH, amp=True)
CORRUPTIONS = ("gaussian_noise", "contrast")
SEVERITIES = (1.0, 3.0, 5.0)


@dataclass(frozen=True)
class Network:
    """One way to fine-tune: K of its LocalNorm layers (None: BatchNorm), images in a group, its modes.

    `layers`: those converted, or modules around them; empty for all.
    """

    name: str
    groups: int | None
    group_images: tuple[int, ...]
    modes: tuple[str, ...]
    trained: bool = True
    side: int = 32  # of the images in pixels; above 32 they are enlarged
    layers: tuple[str, ...] = ()
    epochs: int = 3


EARLY = ("fixed", "batch", "local:layers=localnorm")
NETWORKS = (
    Network("original", None, (), ("fixed", "batch"), trained=False),
    Network("batchnorm", None, (), ("fixed", "batch", "local")),
    Network("localnorm-k2", 2, (), ("fixed", "batch", "local")),
    Network("localnorm-k8", 8, (), ("fixed", "batch", "local", "local:group=0")),
    Network("localnorm-k32", 32, (), ("fixed", "batch", "local:group=0")),
    # Extensions: a group of one image always; groups of one image and of 64 in turn.
    Network("single-k2", 2, (1,), ("fixed", "batch", "local")),
    Network("mixed-k2", 2, (1, 64), ("fixed", "batch", "local")),
    # Single images' statistics in the first layers alone, stored ones behind them.
    Network("stem-k2", 2, (1,), EARLY, layers=("bn1",)),
    Network("early-k2", 2, (1,), EARLY, layers=("bn1", "layer1")),
    # Longer training.
    Network("batchnorm-long", None, (), ("fixed", "batch"), epochs=12),
    Network("single-k2-long", 2, (1,), ("batch", "local"), epochs=12),
    Network("early-k2-long", 2, (1,), EARLY, layers=("bn1", "layer1"), epochs=12),
    # The same on the same images enlarged to 64 px: four times the positions for the statistics of one.
    Network("batchnorm-64px", None, (), ("fixed", "batch"), side=64),
    Network("single-k2-64px", 2, (1,), ("fixed", "batch", "local"), side=64),
    Network("stem-k2-64px", 2, (1,), EARLY, side=64, layers=("bn1",)),
    Network("early-k2-64px", 2, (1,), EARLY, side=64, layers=("bn1", "layer1")),
)
SCRATCH = {"batchnorm": None, "localnorm-k4": (), "single-k4": (1,), "mixed-k4": train_demo.GROUP_IMAGES}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="pre-trained CIFAR-10 ResNet-20")
    parser.add_argument("--train", type=Path, help="zip of training images in class folders")
    parser.add_argument("--test", type=Path, help="zip of test images in class folders")
    parser.add_argument("--lossless", type=Path, help="npz of lossless test images")
    names = [*(network.name for network in NETWORKS), "scratch"]
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--seed", type=int, action="append", help="repeatable; 0 otherwise")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="write the document from the results at hand")
    options = parser.parse_args()
    if options.report:
        from benchmarks.localnorm_report import write

        write(json.loads(RESULTS.read_text()))
        return
    torch.set_num_threads(options.threads)
    keep_freed()
    WORK.mkdir(parents=True, exist_ok=True)
    for seed in options.seed or [0]:
        for network in NETWORKS:
            if network.name in (options.only or names):
                study(network, seed if network.trained else 0, options)
    if "scratch" in (options.only or names):
        for seed in options.seed or [0]:
            scratch(seed)


def study(network: Network, seed: int, options: argparse.Namespace) -> None:
    """Train one network with one seed and evaluate it, unless the results have it."""
    key = f"{network.name}/{seed}"
    before = done().get(key, {})
    if before.get("test_images") == TEST_IMAGES[network.side]:
        return
    weights, seconds = options.checkpoint, None
    if network.trained:
        weights = WORK / f"{network.name}-{seed}.pth"
        seconds = fine_tune(network, seed, options, weights) or before.get("train_cpu_seconds")
    tests = {"jpeg": pictures(options.test, network.side, TEST_IMAGES[network.side])}
    if seed == 0 and network.side == 32:  # the lossless images once: they say the same
        tests["lossless"] = f"npz:{options.lossless}"
    found = {name: evaluate(network, weights, data) for name, data in tests.items()}
    entry = {"groups": network.groups, "group_images": network.group_images, "train_cpu_seconds": seconds}
    counts = {"train_images": TRAIN_IMAGES[network.side], "test_images": TEST_IMAGES[network.side]}
    recipe = {**asdict(RECIPE), "epochs": network.epochs}
    keep(key, {**entry, "layers": network.layers, "recipe": recipe, **counts, "cells": found})


def done() -> dict[str, Any]:
    """The results so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(key: str, entry: dict[str, object]) -> None:
    """Add one entry to the results; read first, as another process may have finished another network."""
    results = done()
    results[key] = entry
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    print(f"{key} done", flush=True)


def fine_tune(network: Network, seed: int, options: argparse.Namespace, out: Path) -> float | None:
    """Convert the checkpoint and fine-tune it, with the same images and recipe for every network."""
    if out.exists():
        return None
    built = registry.build(registry.parse("cifar:resnet20"), classes=10, pretrained=False).network
    checkpoint.fit(built, checkpoint.read(options.checkpoint))
    if network.groups is not None:
        convert_localnorm(built, groups=network.groups, layers=network.layers)
    spec = specs.parse(pictures(options.train, network.side, TRAIN_IMAGES[network.side]))
    store = loading.open_store(spec, Decoding(cache=WORK))
    changes = {"seed": seed, "group_images": network.group_images, "epochs": network.epochs}
    recipe = Recipe(**{**asdict(RECIPE), **changes})
    started = time.process_time()
    train(
        built,
        store.images,
        store.labels,
        recipe,
        normalization=InputNormalization(),
        state=out.with_suffix(".training.pth"),
        report=show,
    )
    checkpoint.write(out, built.state_dict(), extras={}, metadata={})
    return time.process_time() - started


def pictures(archive: Path, side: int, count: int) -> str:
    """An npz spec of `count` of the archive's images, enlarged to a side of `side` pixels; made once."""
    path = WORK / f"{archive.stem}-{side}px-{count}.npz"
    if not path.exists():
        spec = specs.parse(f"folder:{unpacked(archive)}")
        store = loading.open_store(spec, Decoding(limit=count, cache=WORK))
        images = torch.from_numpy(np.array(store.images))  # (N, 3, 32, 32)
        if side != images.shape[-1]:
            enlarged = F.interpolate(images.float(), size=(side, side), mode="bicubic", align_corners=False)
            images = enlarged.round().clamp(0, 255).to(torch.uint8)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, images=images.permute(0, 2, 3, 1).numpy(), labels=np.array(store.labels))
        partial.rename(path)
    return f"npz:{path}"


def evaluate(network: Network, weights: Path, data: str) -> dict[str, dict[str, float]]:
    """Top-1 by mode and condition, through the same code as `lnbench evaluate`."""
    options = {
        "model": "cifar:resnet20",
        "weights": str(weights),
        "data": data,
        "modes": network.modes,
        "corruptions": CORRUPTIONS,
        "severities": SEVERITIES,
        "table": "cifar" if network.side == 32 else "tiny-imagenet",
        "batch_size": BATCH,
        "resize": None if network.side == 32 else network.side,  # the network's own is 32
    }
    return cells_of(options, f"{weights.stem}-{Path(data.partition(':')[2]).stem}")


def cells_of(options: dict[str, object], name: str) -> dict[str, dict[str, float]]:
    config = resolve(load_preset("core"), options)
    prepared = evaluation.prepare_all([config], cache=WORK)
    (outcome,) = evaluation.evaluate(prepared, [WORK / "runs" / name])
    cells: dict[str, dict[str, float]] = {}
    for cell in outcome.record.cells:
        where = f"{cell.corruption}/{cell.severity:g}" if cell.severity else "clean"
        cells.setdefault(cell.mode, {})[where] = round(cell.top1, 6)
        cells[cell.mode]["images"] = cell.images
    return cells


def scratch(seed: int) -> None:
    """Claims 2 and 3: the demo's networks, trained from scratch on 64 px crops, and others beside them."""
    packaged = {
        "batchnorm": train_demo.WEIGHTS / "demo-batchnorm.safetensors",
        "mixed-k4": train_demo.WEIGHTS / "demo-localnorm.safetensors",
    }
    for name, group_images in SCRATCH.items():
        key = f"scratch-{name}/{seed}"
        if key in done():
            continue
        weights = WORK / f"scratch-{name}-{seed}.safetensors"
        if seed == train_demo.RECIPE.seed and name in packaged:
            weights = packaged[name]
        elif not weights.exists():
            norm = "batchnorm" if group_images is None else "localnorm"
            train_demo.train_one(norm, weights, group_images=group_images or (), seed=seed)
        options = {
            "model": "demo",
            "weights": str(weights),
            "data": "demo",
            "modes": ("fixed", "batch", "local", "adapt:n=32"),
            "corruptions": CORRUPTIONS,
            "severities": SEVERITIES,
            "table": "tiny-imagenet",
            "batch_size": 64,
        }
        run = key.replace("/", "-")
        keep(
            key, {"cells": {"demo": cells_of(options, run)}, "by_contrast": by_contrast(WORK / "runs" / run)}
        )


def by_contrast(run: Path) -> dict[str, list[float]]:
    """Top-1 on the thirds of the demo's test crops with the least, middle and largest spread of levels."""
    correct = read_correct(run, read(run))
    assert correct is not None
    images, _, _ = open_demo("test")
    spread = images.reshape(len(images), 3, -1).std(2).mean(1)[correct.ids]
    thirds = np.array_split(np.argsort(spread, kind="stable"), 3)
    return {
        f"{mode}/{condition.corruption}/{condition.severity:g}": [
            round(float(flags[third].mean()), 4) for third in thirds
        ]
        for (mode, condition), flags in correct.flags.items()
        if mode in ("fixed", "local")
    }


def unpacked(archive: Path) -> Path:
    """The class folders of a zip, unpacked once beside the other intermediate files."""
    folder = WORK / archive.stem
    if not folder.exists():
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder.with_name(f"{folder.name}.partial"))
        folder.with_name(f"{folder.name}.partial").rename(folder)
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else folder


def show(standing: Standing) -> None:
    print(
        f"  epoch {standing.epoch + 1}/{standing.epochs}, step {standing.step}/{standing.steps}: "
        f"loss {standing.loss:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
