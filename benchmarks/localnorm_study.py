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

import torch

from benchmarks import train_demo
from lnbench import evaluation
from lnbench.config import load_preset, resolve
from lnbench.data import sources
from lnbench.finetune import Progress, Recipe, train
from lnbench.models import checkpoint, registry
from lnbench.models.classifier import Classifier
from lnbench.norm import swap
from lnbench.norm.convert import convert_localnorm
from lnbench.norm.modes import parse
from lnbench.types import Geometry, Normalization

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "localnorm_study.json"
WORK = HERE.parent / "build" / "localnorm_study"

TRAIN_IMAGES = 20_000
TEST_IMAGES = 1_000
BATCH = 128  # of training, and of mode `batch`
RECIPE = Recipe(epochs=3, lr=0.03, batch_size=BATCH, amp=True)
CORRUPTIONS = ("gaussian_noise", "contrast")
SEVERITIES = (1.0, 3.0, 5.0)
MODES = ("fixed", "batch", "local", "blend:N=16", "adapt:n=32")  # whose cost is measured


@dataclass(frozen=True)
class Network:
    """One way to fine-tune: K of its LocalNorm layers (None: BatchNorm), images in a group, its modes."""

    name: str
    groups: int | None
    group_images: tuple[int, ...]
    modes: tuple[str, ...]
    trained: bool = True


NETWORKS = (
    Network("original", None, (), ("fixed", "batch"), trained=False),
    Network("batchnorm", None, (), ("fixed", "batch", "local")),
    Network("localnorm-k2", 2, (), ("fixed", "batch", "local")),
    Network("localnorm-k8", 8, (), ("fixed", "batch", "local:group=0")),
    Network("localnorm-k32", 32, (), ("batch", "local:group=0")),
    # Extensions: a group of one image always; groups of one image and of 64 in turn.
    Network("single-k2", 2, (1,), ("fixed", "batch", "local")),
    Network("mixed-k2", 2, (1, 64), ("fixed", "batch", "local")),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="pre-trained CIFAR-10 ResNet-20")
    parser.add_argument("--train", type=Path, help="zip of training images in class folders")
    parser.add_argument("--test", type=Path, help="zip of test images in class folders")
    parser.add_argument("--lossless", type=Path, help="npz of lossless test images")
    names = [*(network.name for network in NETWORKS), "scratch", "cost"]
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
    WORK.mkdir(parents=True, exist_ok=True)
    for seed in options.seed or [0]:
        for network in NETWORKS:
            if network.name in (options.only or names):
                study(network, seed if network.trained else 0, options)
    if "scratch" in (options.only or names):
        scratch()
    if "cost" in (options.only or names):
        keep("cost", cost())


def study(network: Network, seed: int, options: argparse.Namespace) -> None:
    """Train one network with one seed and evaluate it, unless the results have it."""
    key = f"{network.name}/{seed}"
    if key in done():
        return
    weights, seconds = options.checkpoint, None
    if network.trained:
        weights = WORK / f"{network.name}-{seed}.pth"
        seconds = fine_tune(network, seed, options, weights)
    found = {
        name: evaluate(network, weights, data, limit)
        for name, data, limit in (
            ("jpeg", f"folder:{unpacked(options.test)}", TEST_IMAGES),
            ("lossless", f"npz:{options.lossless}", None),
        )
        if data.startswith("folder") or seed == 0  # the lossless images once: they say the same
    }
    entry = {"groups": network.groups, "group_images": network.group_images, "train_cpu_seconds": seconds}
    keep(key, {**entry, "recipe": asdict(RECIPE), "train_images": TRAIN_IMAGES, "cells": found})


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
        convert_localnorm(built, groups=network.groups)
    spec = sources.parse(f"folder:{unpacked(options.train)}")
    store = sources.open_store(spec, Geometry(), limit=TRAIN_IMAGES, seed=0, cache=WORK)
    recipe = Recipe(**{**asdict(RECIPE), "seed": seed, "group_images": network.group_images})
    started = time.process_time()
    train(
        built,
        store.images,
        store.labels,
        recipe,
        normalization=Normalization(),
        state=out.with_suffix(".training.pth"),
        report=show,
    )
    checkpoint.write(out, built.state_dict(), extras={}, metadata={})
    return time.process_time() - started


def evaluate(network: Network, weights: Path, data: str, limit: int | None) -> dict[str, dict[str, float]]:
    """Top-1 by mode and condition, through the same code as `lnbench evaluate`."""
    options = {
        "model": "cifar:resnet20",
        "weights": str(weights),
        "data": data,
        "modes": network.modes,
        "corruptions": CORRUPTIONS,
        "severities": SEVERITIES,
        "table": "cifar",
        "batch_size": BATCH,
        "limit": limit,
    }
    return cells_of(options, f"{weights.stem}-{data.partition(':')[0]}")


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


def scratch() -> None:
    """Claims 2 and 3: the demo's networks, trained from scratch on 64 px crops, and a plain LocalNorm one."""
    plain = WORK / "scratch-localnorm.safetensors"
    if not plain.exists():
        train_demo.train_one("localnorm", plain, group_images=())
    packaged = train_demo.WEIGHTS
    for name, weights in (
        ("batchnorm", packaged / "demo-batchnorm.safetensors"),
        ("localnorm-k4", plain),
        ("mixed-k4", packaged / "demo-localnorm.safetensors"),
    ):
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
        key = f"scratch-{name}"
        if key not in done():
            keep(key, {"cells": {"demo": cells_of(options, key)}})


def cost() -> dict[str, object]:
    """CPU seconds of one pass over 200 images of 32 px by ResNet-20 in each mode, the least of five."""
    images = torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8)
    seconds: dict[str, object] = {}
    for groups in (None, 8):
        network = registry.build(registry.parse("cifar:resnet20"), classes=10, pretrained=False).network
        if groups is not None:
            convert_localnorm(network, groups=groups)
        classifier = Classifier(network, Normalization())
        layers = swap.attach(classifier.network)
        for text in MODES:
            mode = parse(text)
            taken = []
            with torch.inference_mode():
                if mode.kind == "adapt":
                    layers.adapt(lambda: classifier.logits(images[:32]))  # noqa: B023 – called at once
                for _ in range(6):
                    started = time.process_time()
                    for group in swap.passes(layers, mode):
                        layers.use(mode, group=group)
                        classifier.logits(images)
                    taken.append(time.process_time() - started)
            seconds[f"{'batchnorm' if groups is None else f'localnorm-k{groups}'}/{text}"] = min(taken[1:])
    return seconds


def unpacked(archive: Path) -> Path:
    """The class folders of a zip, unpacked once beside the other intermediate files."""
    folder = WORK / archive.stem
    if not folder.exists():
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder.with_name(f"{folder.name}.partial"))
        folder.with_name(f"{folder.name}.partial").rename(folder)
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else folder


def show(progress: Progress) -> None:
    print(
        f"  epoch {progress.epoch + 1}/{progress.epochs}, step {progress.step}/{progress.steps}: "
        f"loss {progress.loss:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
