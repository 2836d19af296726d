"""The part of docs/localnorm.md on depth, with its figure, from what depth_study and depth_layers kept."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from lnbench.results.scores import wilson

HERE = Path(__file__).parent
FIGURE = HERE.parent / "docs" / "img" / "localnorm-depth.png"
FIRST = "local:layers=first1"
MANY = 5  # conditions
HEAVY = ("gaussian_noise/5", "contrast/5")

Cells = dict[str, dict[str, float]]


def part() -> str:
    """Section 5 of the page; draws its figure."""
    study = json.loads((HERE / "results" / "depth_study.json").read_text())
    layers = json.loads((HERE / "results" / "depth_layers.json").read_text())
    draw(layers)
    text = [OPENING]
    for name, title in RUNS.items():
        if name in study:
            text.append(f"{title}, top-1 in percent:\n\n{table(study[name])}")
    text.append(f"### Claim 3 at 224 px\n\n{claim(study)}")
    text += [WHY, shifts(layers), "![What each layer sees](img/localnorm-depth.png)", reasons(layers)]
    text.append(TAUGHT)
    text.append(LIMITS)
    return "\n\n".join(one.strip() for one in text)


def table(run: dict[str, Any]) -> str:
    """A row for each mode, or of many conditions for each of these; top-1 with half of its 95 % interval."""
    cells: Cells = run["cells"]
    conditions = list(dict.fromkeys(name for found in cells.values() for name in found))
    if len(conditions) > MANY:
        lines = [
            f"| condition | {' | '.join(f'`{mode}`' for mode in cells)} |",
            "|---|" + "---:|" * len(cells),
        ]
        for name in conditions:
            shown = [entry(found.get(name), run["about"]["images"]) for found in cells.values()]
            lines.append(f"| {name.replace('/', ' ')} | {' | '.join(shown)} |")
        return "\n".join(lines)
    lines = [f"| mode | {' | '.join(name.replace('/', ' ') for name in conditions)} |"]
    lines.append("|---|" + "---:|" * len(conditions))
    for mode, found in cells.items():
        shown = [entry(found.get(name), run["about"]["images"]) for name in conditions]
        lines.append(f"| `{mode}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def entry(rate: float | None, images: int) -> str:
    if rate is None:
        return "–"
    low, high = wilson(round(rate * images), images)
    return f"{100 * rate:.1f} ± {50 * (high - low):.1f}"


def claim(study: dict[str, Any]) -> str:
    """The rule, applied to every mode of one image that was measured under all three conditions."""
    cells: Cells = study["depth"]["cells"]
    lines = [RULE.strip() + "\n"]
    fixed, batch = cells["fixed"], cells["batch"]
    for mode, own in cells.items():
        if not mode.startswith("local") or any(name not in own for name in ("clean", *HEAVY)):
            continue
        checks = [own["clean"] >= batch["clean"] - 0.02]
        checks += [own[name] >= fixed[name] + 0.1 for name in HEAVY]
        words = ", ".join(
            f"{what} {'yes' if good else 'no'}"
            for what, good in zip(("clean", "noise", "contrast"), checks, strict=True)
        )
        verdict = "reproduced" if all(checks) else "not reproduced" if not any(checks) else "in part"
        lines.append(f"- `{mode}`: {words}: **{verdict}**")
    return "\n".join(lines)


def shifts(layers: dict[str, Any]) -> str:
    """The shift at some layers, as it is and behind a first layer in `local`."""
    names = list(layers["pixels"])
    fixed, first = layers["together"]["fixed"], layers["together"][FIRST]
    shown = [name for name in fixed if name != "clean"]
    heads = [name.split("/")[0] for name in shown]
    lines = [
        f"| layer | pixels | one clean image | {' | '.join(heads)} |",
        "|---|---:|---:|" + "---:|" * len(shown),
    ]
    for number in (1, 2, 3, 6, 10, 19, 31, 43, 49):
        name = names[number - 1]
        pairs = [f"{fixed[c][name]:.2f} → {first[c][name]:.2f}" for c in shown]
        lines.append(
            f"| {number} | {layers['pixels'][name]:,} | {layers['spread'][name]:.2f} | {' | '.join(pairs)} |"
        )
    return "\n".join(lines)


def reasons(layers: dict[str, Any]) -> str:
    """What the table and the figure hold, in words and medians over the layers behind the first."""
    behind = list(layers["pixels"])[1:]
    fixed, first = (
        {
            condition.split("/")[0]: f"{median(found[name] for name in behind):.2f}"
            for condition, found in layers["together"][mode].items()
        }
        for mode in ("fixed", FIRST)
    )
    spread = list(layers["spread"].values())
    early, late = (f"{max(part):.1f}" for part in (spread[:10], spread[-10:]))
    text = " ".join(REASONS.format(fixed=fixed, first=first, early=early, late=late).split())
    bullets = text.removeprefix("- ").split(" - ")
    return "\n".join(fill(one, 105, initial_indent="- ", subsequent_indent="  ") for one in bullets)


def draw(layers: dict[str, Any]) -> None:
    """Shift by corruption along the depth, `fixed` and behind a first layer in `local`; spread; pixels."""
    names = list(layers["pixels"])
    depth = range(1, len(names) + 1)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    styles = (("contrast/5", "-", "o"), ("fog/5", "--", "s"), ("gaussian_noise/5", "-.", "^"),
              ("defocus_blur/5", ":", "v"))  # fmt: skip
    for axis, (mode, found) in zip(axes[:2], layers["together"].items(), strict=True):
        for condition, dash, marker in styles:
            values = [found[condition][name] for name in names]
            axis.plot(depth, values, linestyle=dash, marker=marker, markevery=6, label=condition)
        spread = [layers["spread"][name] for name in names]
        axis.plot(depth, spread, color="black", linewidth=2, label="one clean image")
        axis.set(
            title=f"distance from the stored statistics, {mode}",
            xlabel="norm layer",
            yscale="log",
            ylim=(0.05, 5),
        )
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    axes[2].semilogy(depth, [layers["pixels"][name] for name in names], color="black")
    axes[2].set(title="pixels that an image's statistic is taken from", xlabel="norm layer")
    axes[2].title.set_fontsize(9)
    axes[2].grid(alpha=0.3)
    figure.savefig(FIGURE, dpi=110, metadata={"Software": None})
    plt.close(figure)


RUNS = {
    "depth": "One image at a time, the first layers by its own statistics, in bfloat16 (`batch`: 64 images)",
    "others": "Other corruptions at severity 5, in bfloat16",
    "contrast-fp32": "Contrast in float32",
    "lite0-first3-seed0-contrast": "The first three layers distilled, seed 0, in float32",
    "lite0-first3-seed1-contrast": "The same, seed 1",
    "lite0-first3-seed2-contrast": "The same, seed 2",
    "resnet20-before": "ResNet-20 at 32 px, 846 lossless images",
    "resnet20-first7-seed0": "Its first seven layers distilled on 4,194 images in one epoch, seed 0",
    "resnet20-first7-seed1": "The same, seed 1",
    "resnet20-first7-seed2": "The same, seed 2",
    "demo": "The demo's BatchNorm network at 64 px",
    "resnet20": "ResNet-20 at 32 px, 400 images",
    "resnet56": "ResNet-56 at 32 px, 400 images",
    "blend": "EfficientNet-Lite0, `blend` and `adapt` to several depths, in bfloat16",
    "grid": "EfficientNet-Lite0 under all fifteen corruptions, in bfloat16",
}

OPENING = """
## 5. A real network at 224 px: how deep?

EfficientNet-Lite0, trained on ImageNet by others, has 49 norm layers. `layers=firstK` gives the first K
of them the statistics of each single image and leaves the others the stored ones; nothing is trained. Of
800 photographs, one of each of 800 classes, 200 are tested on and 600 are for choosing and converting:
split by class with a seed (`benchmarks/results/depth_split.json`), written down with the rule below
before the first result. All 1,000 outputs compete. `python -m benchmarks.depth_study --shared SHARED`
makes every figure of this section, `python -m benchmarks.depth_layers --shared SHARED` those of the
layers. ± is half of a 95 % interval over images.
"""

RULE = """
The rule: one image at a time, clean accuracy at most two points below the original network's `batch`,
and at least ten points above its `fixed` under gaussian_noise 5 and under contrast 5.
"""

WHY = """
### Why depth matters

For each norm layer: the pixels that one image's statistics are taken from; the distance of one clean
image's statistics from the stored ones (mean over 64 photographs of the 600; the measure of
`--diagnose`: 1 is a shift of every channel by one standard deviation); and that of the 64 together under
a corruption at severity 5, with all layers `fixed` → with the first one in `local`.
"""

REASONS = """
- **Contrast is undone by the first layer.** Behind it the median distance of the other 48 falls from
  {fixed[contrast]} to {first[contrast]}, less than the {first[clean]} of clean images. Contrast
  multiplies the pixels of an image and shifts them; the convolution in front keeps that, and the image's
  own mean and variance take it out. So one layer suffices. Of fog a part goes too: {fixed[fog]} to
  {first[fog]}.
- **Noise is not:** {fixed[gaussian_noise]} to {first[gaussian_noise]}. It adds a pattern that no mean
  and variance takes out.
- **Every further layer costs**, because one image's statistics are no longer those of many: up to
  {early} away from the stored ones in the first ten layers, up to {late} in the last ten, where they are
  taken from 49 pixels and not from 12,544. With contrast gone behind the first layer there is nothing
  left to gain for it.
"""

TAUGHT = """
### Distilled, and chosen without labels

`lnbench convert --to localnorm --layers first3 --distill images:… --epochs 3 --batch-size 20` (81 steps,
no labels, weights and biases of three layers, the usual rate, seed 0) took the agreement of
EfficientNet-Lite0 with its original from 90.0 to 91.7 % of the 60 photographs held out of the 600: one
photograph, which chance does as well. On the test photographs it stands where it stood (tables above).

`lnbench choose` on 32 of the 600, tuned on the four extra corruptions at severities 3 and 5, tried 14
modes and proposed `blend:N=16,layers=first9`, with a gain of 2.0 ± 4.0 points of agreement: within
chance, as it said (`benchmarks/results/depth_choice.json`). It put `local:layers=first1` at a cost of
3.1 points and a *loss* of 9.0 ± 5.6: speckle noise, blur, spatter and saturation are not what a first
layer undoes, and contrast is none of the four. What is chosen by them says nothing about contrast.
"""

LIMITS = """
### What this section lacks

- The 200 test photographs are probably of the network's training set: accuracies are high.
- Of the fifteen corruptions at severities 1, 3 and 5, and of the networks, curves and seeds planned in
  `benchmarks/depth_study.py`, only those in the tables were run: two processor cores, shared with other
  work, did not suffice. The same command goes on.
- One conversion with one seed says nothing about the recipe; steps, rate and depth were not searched.
- `local:layers=first1` was known to help under contrast from a trial on 200 of the same 800 photographs: its
  figures confirm that trial, they are no prediction.
"""
