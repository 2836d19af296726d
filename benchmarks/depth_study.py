"""How deep should single-image statistics go? Depth curves at 224 and 32 px; a part of docs/localnorm.md.

    python -m benchmarks.depth_study --shared SHARED            # everything that is missing, hours
    python -m benchmarks.depth_study --shared SHARED --only grid
    python -m benchmarks.depth_study --report                   # the page and its figures from what is kept

SHARED holds checkpoints/ and data/. Each step is one `lnbench` command, printed as it starts; a study that
was interrupted goes on. 800 photographs, one of each of 800 classes, are split by class with a seed: 600 to
choose and convert with, 200 to test. Written down before the first result was seen:

- The split: `split()` below, kept in results/depth_split.json. Nothing is chosen on the 200.
- Top-1 among all 1,000 outputs; `batch` has batches of 64, `adapt` 32 images.
- Claim 3 (single images of larger size suffice) holds for a network and mode where clean accuracy is at most
  two points below the original network's `batch`, and accuracy under gaussian_noise 5 and under contrast 5 is
  at least ten points above the original network's `fixed`. All three, or it is not reproduced.
- Depths of the conversions are those that `lnbench choose` proposes on the 600, tuned on the four extra
  corruptions, and the depths beside it; three seeds each.
- Convolutions in bfloat16, statistics in float32 (processor time is what limits this study); the step `fp32`
  repeats the main modes on three conditions in float32.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parent
SPLIT = HERE / "results" / "depth_split.json"
RESULTS = HERE / "results" / "depth_study.json"
WORK = HERE.parent / "build" / "depth"

TEST_CLASSES, SPLIT_SEED = 200, 0
LITE0 = "timm:tf_efficientnet_lite0"
DEPTHS = (1, 2, 3, 5, 9, 16)
COARSE = (3, 9)
BLENDS = (1, 4, 16, 64)
HEAVY = ("gaussian_noise", "contrast")
OTHERS = (
    "fog", "brightness", "frost", "snow", "defocus_blur", "jpeg_compression", "pixelate", "motion_blur",
    "zoom_blur", "glass_blur", "elastic_transform", "shot_noise", "impulse_noise",
)  # fmt: skip
GRID = ("fixed", "local:layers=first1", "adapt:n=32")
SEEDS = (0, 1, 2)
TAUGHT = "local:layers=localnorm"


class Step(NamedTuple):
    """One command of lnbench, and the file that is there when it is done."""

    words: list[str]
    done: Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with checkpoints/ and data/")
    parser.add_argument("--only", action="append", help="steps by name or pattern, repeatable; all otherwise")
    parser.add_argument("--split", action="store_true", help="write the split down and end")
    parser.add_argument("--collect", action="store_true", help="only keep what is finished")
    given = parser.parse_args()
    if given.shared is None:
        parser.error("--shared is needed")
    split(given.shared / "data" / "imagenet_sample_800.zip")
    if given.split:
        return
    for name, step in steps(given.shared).items():
        wanted = not given.collect and (
            not given.only or any(fnmatch(name, pattern) for pattern in given.only)
        )
        if wanted and not step.done.exists():
            run(step.words)
    collect(steps(given.shared))


def split(photographs: Path) -> None:
    """600 classes to convert with and 200 to test: the first 200 of a seeded permutation of their names."""
    with zipfile.ZipFile(photographs) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
        classes = sorted({name.split("/")[0] for name in members})
        drawn = np.random.default_rng(SPLIT_SEED).permutation(len(classes))[:TEST_CLASSES]
        test = sorted(classes[number] for number in drawn)
        if not SPLIT.exists():
            SPLIT.write_text(
                json.dumps({"seed": SPLIT_SEED, "classes": len(classes), "test": test}, indent=0) + "\n"
            )
        if json.loads(SPLIT.read_text())["test"] != test:
            raise SystemExit(f"{SPLIT} names other classes than this seed and these photographs give")
        for name in members:
            part = "test" if name.split("/")[0] in test else "convert"
            target = WORK / part / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def steps(shared: Path) -> dict[str, Step]:
    """Every command by name, in the order of its worth."""
    files = {
        "lite0": shared / "checkpoints" / "tf_efficientnet_lite0.safetensors",
        "resnet20": shared / "checkpoints" / "cifar10_resnet20-12fca82f.th",
        "resnet56": shared / "checkpoints" / "cifar10_resnet56-4bfd9763.th",
    }
    photographs = ["--classes", "all", "--batch-size", "64", "--data", f"folder:{WORK / 'test'}"]
    small = ["--data", f"npz:{shared / 'data' / 'cifar10_test_846.npz'}"]
    models = {"lite0": LITE0, "resnet20": "cifar:resnet20", "resnet56": "cifar:resnet56"}
    large = ["--model", LITE0, *photographs, "--cache", str(WORK / "cache")]
    bf16 = [*large, "--weights", str(files["lite0"]), "--precision", "bf16"]
    fp32 = [*large, "--weights", str(files["lite0"])]
    main_modes = ("fixed,batch", "local:layers=first{1,3}")
    found = {
        "contrast-fp32": evaluation("contrast-fp32", "imagenet-c", (5,), main_modes, fp32, HEAVY[1:]),
        "depth": evaluation("depth", "imagenet-c", (5,), by_depth(49), bf16, HEAVY),
        "others": evaluation("others", "imagenet-c", (5,), ("fixed", "local:layers=first1"), bf16, OTHERS),
    }
    for name, layers in (("resnet20", 19), ("demo", 7), ("resnet56", 55)):
        words = ["--model", "demo", "--data", "demo"]
        if name != "demo":
            words = ["--model", models[name], "--weights", str(files[name]), *small, "--limit", "400"]
        preset = "demo" if name == "demo" else "cifar10-c"
        modes = (*by_depth(layers), *blended(layers))
        found[name] = evaluation(name, preset, (5,), modes, words, HEAVY)
    train = f"npz:{shared / 'data' / 'cifar10_train_4660.npz'}"
    photos = f"images:{WORK / 'convert'}"
    for name, depth, images, recipe, data in (
        ("resnet20", 7, train, ("--epochs", "1", "--batch-size", "60"), small),
        ("lite0", 3, photos, ("--epochs", "3", "--batch-size", "20"), photographs),
    ):
        for seed in SEEDS:
            title = f"{name}-first{depth}-seed{seed}"
            out = WORK / f"{title}.safetensors"
            words = ["convert", str(files[name]), "--model", models[name], "--to", "localnorm", "--layers"]
            words += [f"first{depth}", "--distill", images, *recipe, "--seed", str(seed), "-o", str(out)]
            found[f"teach-{title}"] = Step([*words, "--device", "cpu"], out)
            task = ["--model", models[name], "--weights", str(out), *data]
            preset, corruptions = ("imagenet-c", HEAVY[1:]) if name == "lite0" else ("cifar10-c", HEAVY)
            title += f"-{corruptions[0]}" if name == "lite0" else ""
            found[title] = evaluation(title, preset, (5,), (TAUGHT,), task, corruptions)
        if name == "lite0":  # of which other steps have them
            continue
        before = ["--model", models[name], "--weights", str(files[name]), *data]
        modes = ("fixed,batch", f"local:layers=first{depth}")
        found[f"{name}-before"] = evaluation(f"{name}-before", preset, (5,), modes, before, HEAVY)
    found["blend"] = evaluation("blend", "imagenet-c", (5,), blended(49), bf16, HEAVY)
    found["grid"] = evaluation("grid", "imagenet-c", (1, 3, 5), GRID, bf16)
    return found


def collect(every: dict[str, Step]) -> None:
    """Keep top-1 of every condition that is finished, a line for each mode."""
    blocks = []
    for name, step in every.items():
        lines = step.done.with_name("cells.jsonl")
        if step.done.name != "results.json" or not lines.exists():
            continue
        config = json.loads(step.done.with_name("run.json").read_text())
        cells: dict[str, dict[str, float]] = {}
        for cell in map(json.loads, lines.read_text().splitlines()):
            level = f"/{cell['severity']:g}" if cell["severity"] else ""
            cells.setdefault(cell["mode"], {})[f"{cell['corruption']}{level}"] = round(cell["top1"], 4)
        about = {
            "model": config["model"]["spec"],
            "precision": config["model"]["precision"],
            "images": config["data"]["images"],
        }
        modes = ",\n   ".join(f"{json.dumps(m)}: {json.dumps(c)}" for m, c in cells.items())
        blocks.append(f'{json.dumps(name)}: {{"about": {json.dumps(about)},\n  "cells": {{\n   {modes}}}}}')
    RESULTS.write_text("{" + ",\n ".join(blocks) + "}\n")


def by_depth(layers: int) -> tuple[str, ...]:
    """The modes of the curve of `local` over the depth, for a network with that many norm layers."""
    return ("fixed,batch", f"local:layers=first{{{_depths(DEPTHS, layers)}}}")


def blended(layers: int) -> tuple[str, ...]:
    """The modes of the curves of `blend` and `adapt` over the depth."""
    depths = _depths(COARSE, layers)
    blends = (f"blend:N={n},layers=first{{{depths}}}" for n in BLENDS)
    return (f"adapt:n=32,layers=first{{{depths}}}", *blends)


def _depths(depths: Sequence[int], layers: int) -> str:
    return ",".join(map(str, (*(depth for depth in depths if depth < layers), layers)))


def evaluation(
    name: str,
    preset: str,
    severities: Sequence[int],
    modes: Sequence[str],
    words: Sequence[str],
    corruptions: Sequence[str] = (),
) -> Step:
    """One `lnbench evaluate` into a folder of that name."""
    chosen = ["evaluate", "--preset", preset, *words, "--out", str(WORK / name)]
    chosen += [word for severity in severities for word in ("--severity", str(severity))]
    chosen += [word for corruption in corruptions for word in ("--corruption", corruption)]
    chosen += [word for mode in modes for word in ("--norm", mode)]
    return Step(chosen, WORK / name / "results.json")


def run(words: Sequence[str]) -> None:
    """One command of lnbench, printed as it starts."""
    print("lnbench", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "lnbench", *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
