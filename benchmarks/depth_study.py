"""How deep should single-image statistics go? Depth curves at 224 and 32 px; a part of docs/localnorm.md.

    python -m benchmarks.depth_study --shared SHARED            # everything that is missing, hours
    python -m benchmarks.depth_study --shared SHARED --only grid
    python -m benchmarks.localnorm_study --report               # the page and its figures from what is kept

SHARED holds checkpoints/ and data/. Each step is one `lnbench` command, printed as it starts; a study that
was interrupted goes on. 800 photographs, one of each of 800 classes, are split by class with a seed: 600 to
choose and convert with, 200 to test. Written down before the first result was seen:

- The split: `split()` below, kept in results/depth_split.json. Nothing is chosen on the 200.
- Top-1 among all 1,000 outputs; `batch` has batches of 64, `adapt` 32 images.
- Claim 3 (single images of larger size suffice) holds for a network and mode where clean accuracy is at most
  two points below the original network's `batch`, and accuracy under gaussian_noise 5 and under contrast 5 is
  at least ten points above the original network's `fixed`. All three, or it is not reproduced.

What is run was settled later, by what processor time allowed. `grid`: fifteen corruptions at three
severities, `curves`: more modes under four of them at severity 5, both in float32; the same modes on three
small networks, those that came nearest to the rule once more on other images; conversions of three seeds.
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
CURVES = (*HEAVY, "fog", "defocus_blur")
GRID = ("fixed,batch", "local:layers=first1", "adapt:n=32")
# What came nearest to the rule, or passed it, among all on 400 images: once more on 2,000 others.
NEAREST = {
    "resnet20": ("local:layers=first9", "blend:N=1,layers=first9", "blend:N=4,layers=first9", "blend:N=4"),
    "resnet56": ("local:layers=first16", "blend:N=1", "blend:N=4"),
}
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
    photographs += ["--cache", str(WORK / "cache")]
    small = ["--data", f"npz:{shared / 'data' / 'cifar10_test_846.npz'}"]
    models = {"lite0": LITE0, "resnet20": "cifar:resnet20", "resnet56": "cifar:resnet56"}
    lite0 = ["--model", LITE0, "--weights", str(files["lite0"]), *photographs]
    found = {"grid": evaluation("grid", "imagenet-c", (1, 3, 5), GRID, lite0)}
    for name, layers in (("resnet20", 19), ("demo", 7), ("resnet56", 55)):
        words = ["--model", "demo", "--data", "demo"]
        if name != "demo":
            words = ["--model", models[name], "--weights", str(files[name]), *small, "--limit", "400"]
        preset = "demo" if name == "demo" else "cifar10-c"
        modes = (*by_depth(layers), *blended(layers))
        found[name] = evaluation(name, preset, (5,), modes, words, HEAVY)
    jpeg = ["--data", f"zip:{shared / 'data' / 'cifar10_jpeg_test.zip'}", "--limit", "2000"]
    for name, nearest in NEAREST.items():
        words = ["--model", models[name], "--weights", str(files[name]), *jpeg]
        modes = ("fixed,batch", *nearest)
        found[f"{name}-again"] = evaluation(f"{name}-again", "cifar10-c", (5,), modes, words, HEAVY)
    modes = (*by_depth(49), *blended(49))
    found["curves"] = evaluation("curves", "imagenet-c", (5,), modes, lite0, CURVES)
    train = f"npz:{shared / 'data' / 'cifar10_train_4660.npz'}"
    photos = f"images:{WORK / 'convert'}"
    taught = (
        ("lite0", 3, 3, SEEDS, photos, "20", photographs),
        ("lite0", 1, 3, SEEDS, photos, "20", photographs),
        ("resnet20", 7, 1, SEEDS, train, "60", small),
        ("lite0", 3, 9, SEEDS[:1], photos, "20", photographs),
    )
    for name, depth, epochs, seeds, images, batch, data in taught:
        for seed in seeds:
            title = f"{name}-first{depth}-epochs{epochs}-seed{seed}"
            out = WORK / f"{title}.safetensors"
            words = ["convert", str(files[name]), "--model", models[name], "--to", "localnorm", "--layers"]
            words += [f"first{depth}", "--distill", images, "--epochs", str(epochs), "--batch-size", batch]
            found[f"teach-{title}"] = Step(
                [*words, "--seed", str(seed), "-o", str(out), "--device", "cpu"], out
            )
            task = ["--model", models[name], "--weights", str(out), *data]
            preset, corruptions = ("imagenet-c", CURVES) if name == "lite0" else ("cifar10-c", HEAVY)
            found[title] = evaluation(title, preset, (5,), (TAUGHT,), task, corruptions)
    before = ["--model", models["resnet20"], "--weights", str(files["resnet20"]), *small]
    modes = ("fixed,batch", "local:layers=first7")
    found["resnet20-before"] = evaluation("resnet20-before", "cifar10-c", (5,), modes, before, HEAVY)
    return found


def collect(every: dict[str, Step]) -> None:
    """Keep top-1 of every condition that is finished, a line for each mode, beside what was kept before."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
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
        kept[name] = {"about": about, "cells": cells}
    blocks = []
    for name in (name for name in every if name in kept):
        about, cells = kept[name]["about"], kept[name]["cells"]
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
