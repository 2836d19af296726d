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
from pathlib import Path

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
GRID = ("fixed", "local:layers=first1", "adapt:n=32")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with checkpoints/ and data/")
    parser.add_argument("--only", action="append", help="a step by name, repeatable; all otherwise")
    parser.add_argument("--split", action="store_true", help="write the split down and end")
    given = parser.parse_args()
    if given.shared is None:
        parser.error("--shared is needed")
    split(given.shared / "data" / "imagenet_sample_800.zip")
    if given.split:
        return
    for name, words in steps(given.shared).items():
        if given.only and name not in given.only:
            continue
        if (WORK / name / "results.json").exists():
            continue
        run([*words, "--out", str(WORK / name)])


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


def steps(shared: Path) -> dict[str, list[str]]:
    """The evaluations by name, as the words of their commands without `--out`."""
    weights = str(shared / "checkpoints" / "tf_efficientnet_lite0.safetensors")
    large = ["--model", LITE0, "--weights", weights, "--classes", "all", "--batch-size", "64"]
    large += ["--data", f"folder:{WORK / 'test'}", "--cache", str(WORK / "cache")]
    bf16 = [*large, "--precision", "bf16"]
    cifar = ["--data", f"npz:{shared / 'data' / 'cifar10_test_846.npz'}", "--limit", "400"]
    weights_of = {"resnet56": "cifar10_resnet56-4bfd9763.th", "resnet20": "cifar10_resnet20-12fca82f.th"}
    small = {
        name: ["--model", f"cifar:{name}", "--weights", str(shared / "checkpoints" / file), *cifar]
        for name, file in weights_of.items()
    }
    small["demo"] = ["--model", "demo", "--data", "demo"]
    main_modes = ("fixed,batch", "local:layers=first{1,3}")
    found = {
        "depth": evaluate("imagenet-c", (5,), by_depth(49), bf16, HEAVY),
        "blend": evaluate("imagenet-c", (5,), blended(49), bf16, HEAVY),
        "grid": evaluate("imagenet-c", (1, 3, 5), GRID, bf16),
        "fp32": evaluate("imagenet-c", (5,), main_modes, large, ("contrast",)),
    }
    for name, words in small.items():
        deepest = {"resnet56": 55, "resnet20": 19, "demo": 7}[name]
        preset = "demo" if name == "demo" else "cifar10-c"
        modes = (*by_depth(deepest), *blended(deepest))
        found[name] = evaluate(preset, (5,), modes, words, CURVES)
    return found


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


def evaluate(
    preset: str,
    severities: Sequence[int],
    modes: Sequence[str],
    words: Sequence[str],
    corruptions: Sequence[str] = (),
) -> list[str]:
    """The words of one `lnbench evaluate`."""
    chosen = ["evaluate", "--preset", preset, *words]
    chosen += [word for severity in severities for word in ("--severity", str(severity))]
    chosen += [word for name in corruptions for word in ("--corruption", name)]
    return [*chosen, *(word for mode in modes for word in ("--norm", mode))]


def run(words: Sequence[str]) -> None:
    """One command of lnbench, printed as it starts."""
    print("lnbench", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "lnbench", *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
