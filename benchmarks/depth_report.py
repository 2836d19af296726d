"""The part of docs/localnorm.md on depth, from what depth_study and depth_layers kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from textwrap import fill
from typing import Any

from scipy.stats import t as student

from benchmarks import depth_figures
from benchmarks.depth_study import CURVES, NEAREST
from lnbench.results.scores import wilson

HERE = Path(__file__).parent
FIRST = "local:layers=first1"
HEAVY = ("gaussian_noise/5", "contrast/5")
FAMILIES = ("local", "blend")  # modes of one image at a time
SMALL = {"resnet56": "ResNet-56, 32 px", "resnet20": "ResNet-20, 32 px", "demo": "the demo's network, 64 px"}

Cells = dict[str, dict[str, float]]
Study = dict[str, Any]


def part() -> str:
    """Section 5 of the page; draws its figures."""
    study: Study = json.loads((HERE / "results" / "depth_study.json").read_text())
    layers = json.loads((HERE / "results" / "depth_layers.json").read_text())
    depth_figures.shifts(layers)
    depth_figures.curves({name: study[name]["cells"] for name in ("curves", *SMALL)})
    text = [
        OPENING, table(study["curves"]), BY_DEPTH, GRID, grid(study["grid"]["cells"]), SMALLER,
        *(f"{title}:\n\n{table(study[name])}" for name, title in SMALL.items()),
        AGAIN, *(f"{SMALL[name]}:\n\n{table(study[f'{name}-again'])}" for name in NEAREST),
        WHY, shifts(layers), "![What each layer sees](img/localnorm-depth.png)", reasons(layers),
        TAUGHT, taught(study), CHOSEN, f"### Claim 3\n\n{RULE.strip()}\n\n{claim(study)}", LIMITS,
    ]  # fmt: skip
    return "\n\n".join(one.strip() for one in text)


def tables(study: Study) -> str:
    """Every table of the section but that of the layers."""
    names = ("curves", *SMALL, *(f"{name}-again" for name in NEAREST))
    found = [table(study[name]) for name in names]
    return "\n".join([*found, grid(study["grid"]["cells"]), taught(study), claim(study)])


def table(run: dict[str, Any]) -> str:
    """A row for each mode: top-1 under each condition with half of its 95 % interval over images."""
    columns = list(next(iter(run["cells"].values())))
    lines = [f"| mode | {' | '.join(name.replace('/', ' ') for name in columns)} |"]
    lines.append("|---|" + "---:|" * len(columns))
    for mode, found in run["cells"].items():
        shown = (entry(found[name], run["about"]["images"]) for name in columns)
        lines.append(f"| `{mode}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def grid(cells: Cells) -> str:
    """A row for each corruption, its mean over severities; the mean of each severity; clean."""
    names = [name for name in next(iter(cells.values())) if name != "clean"]
    kinds = list(dict.fromkeys(name.split("/")[0] for name in names))
    lines = [f"| | {' | '.join(f'`{mode}`' for mode in cells)} |", "|---|" + "---:|" * len(cells)]

    def row(title: str, wanted: list[str]) -> None:
        means = [100 * fmean(found[name] for name in wanted) for found in cells.values()]
        best = max(round(one, 1) for one in means)
        shown = (f"**{one:.1f}**" if round(one, 1) == best else f"{one:.1f}" for one in means)
        lines.append(f"| {title} | {' | '.join(shown)} |")

    for kind in kinds:
        row(kind, [name for name in names if name.startswith(f"{kind}/")])
    for level in sorted({name.split("/")[1] for name in names}):
        row(f"mean at severity {level}", [name for name in names if name.endswith(f"/{level}")])
    row("mean", names)
    row("clean", ["clean"])
    return "\n".join(lines)


def entry(rate: float, images: int) -> str:
    low, high = wilson(round(rate * images), images)
    return f"{100 * rate:.1f} ± {50 * (high - low):.1f}"


def taught(study: Study) -> str:
    """What was distilled, before and after: mean over seeds and half of their 95 % interval."""
    columns = ("clean", *(f"{name}/5" for name in CURVES))
    lines = [f"| | seeds | {' | '.join(name.replace('/', ' ') for name in columns)} |"]
    lines.append("|---|---:|" + "---:|" * len(columns))
    for title, before, mode, names in DISTILLED:
        runs = [study[name]["cells"]["local:layers=localnorm"] for name in names if name in study]
        if not runs:
            continue
        lines.append(f"| {title}: before | | {figures([study[before]['cells'][mode]], columns)} |")
        count = int(names[0].split("-epochs")[1].split("-")[0])
        words = f"after {count} epoch" + "s" * (count > 1)
        lines.append(f"| {words} | {len(runs)} | {figures(runs, columns)} |")
    return "\n".join(lines)


def figures(runs: list[dict[str, float]], columns: Sequence[str]) -> str:
    shown = []
    for name in columns:
        values = [100 * run[name] for run in runs if name in run]
        around = ""
        if len(values) > 1:
            half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
            around = f" ± {half:.1f}"
        shown.append(f"{fmean(values):.1f}{around}" if values else "–")
    return " | ".join(shown)


def claim(study: Study) -> str:
    """The rule on every network: the mode of one image at a time that comes nearest, by family."""
    lines = [
        "| network | nearest of | mode | clean | noise | contrast | |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    for title, before, names in RULED:
        if before not in study:
            continue
        cells: Cells = study[before]["cells"]
        for family in FAMILIES if not names else ():
            own = {mode: held(found, cells) for mode, found in cells.items() if mode.startswith(family)}
            nearest = max(own, key=lambda mode: min(own[mode]))
            lines.append(f"| {title} | {len(own)} | `{nearest}` | {verdict(own[nearest])} |")
        after = [study[name]["cells"] for name in names if name in study]
        if after:
            margins = held(middle(after), cells)
            lines.append(f"| {title} | | mean of {len(after)} seeds | {verdict(margins)} |")
    return "\n".join(lines)


def held(own: dict[str, float], cells: Cells) -> list[float]:
    """By how much of 1 a mode passes each part of the rule, or fails it."""
    margins = [own["clean"] - (cells["batch"]["clean"] - 0.02)]
    return [*margins, *(own[name] - (cells["fixed"][name] + 0.1) for name in HEAVY)]


def verdict(margins: list[float]) -> str:
    passed = [round(margin, 6) >= 0 for margin in margins]
    word = "**reproduced**" if all(passed) else "in part" if any(passed) else "not reproduced"
    shown = (
        f"{'yes' if good else 'no'}, {100 * margin:+.1f}"
        for good, margin in zip(passed, margins, strict=True)
    )
    return f"{' | '.join(shown)} | {word}"


def middle(runs: list[Cells]) -> dict[str, float]:
    """The mean over seeds."""
    own = [run["local:layers=localnorm"] for run in runs]
    return {name: fmean(one[name] for one in own) for name in own[0]}


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


_LITE0 = "lite0-first{}-epochs{}-seed{}"
_RESNET20 = [f"resnet20-first7-epochs1-seed{seed}" for seed in (0, 1, 2)]
_SEEDS = {depth: [_LITE0.format(depth, 3, seed) for seed in (0, 1, 2)] for depth in (1, 3)}
# What was distilled, where its network stands before, in which mode, and the runs afterwards.
DISTILLED = (
    ("EfficientNet-Lite0, first layer", "curves", "local:layers=first1", _SEEDS[1]),
    ("EfficientNet-Lite0, first three", "curves", "local:layers=first3", _SEEDS[3]),
    ("EfficientNet-Lite0, first three", "curves", "local:layers=first3", [_LITE0.format(3, 9, 0)]),
    ("ResNet-20, first seven", "resnet20-before", "local:layers=first7", _RESNET20),
)
RULED = (
    ("EfficientNet-Lite0", "curves", ()),
    ("its first layer distilled", "curves", _SEEDS[1]),
    ("its first three distilled", "curves", _SEEDS[3]),
    ("ResNet-56", "resnet56", ()),
    ("the same, 2,000 images", "resnet56-again", ()),
    ("ResNet-20", "resnet20", ()),
    ("the same, 2,000 images", "resnet20-again", ()),
    ("its first seven distilled", "resnet20-before", _RESNET20),
    ("the demo's", "demo", ()),
)

OPENING = """
## 5. How deep? A real network at 224 px, and three small ones

EfficientNet-Lite0, trained on ImageNet by others, has 49 norm layers. `layers=firstK` gives the first K
of them the statistics of each single image and leaves the others the stored ones; nothing is trained. Of
800 photographs, one of each of 800 classes, 200 are tested on and 600 are for choosing and converting:
split by class with a seed (`benchmarks/results/depth_split.json`), written down with the rule below
before the first result. All 1,000 outputs compete. `batch` has batches of 64, `adapt` 32 images; float32.
`python -m benchmarks.depth_study --shared SHARED` makes every figure of this section, `python -m
benchmarks.depth_layers --shared SHARED` those of the layers. ± is half of a 95 % interval over images.

Top-1 in percent at severity 5:
"""

BY_DEPTH = """
![Accuracy against depth](img/localnorm-curves.png)

One layer is enough against contrast, and `local` should go no deeper. Mixed with the stored statistics
(`blend`) an image's own can go through the whole network, but then they undo less of the contrast, the
less the more images (N) the stored ones count as.
"""

GRID = """
All fifteen corruptions, mean over severities 1, 3 and 5, top-1 in percent, the best of a row in bold:
"""

SMALLER = """
The same depths at 32 and 64 px, on 400 lossless CIFAR-10 test images and the demo's 480, top-1 in percent:
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

AGAIN = """
Of so many modes on 400 images the best are too good. Those nearest to the rule below, once more on 2,000
JPEG test images of CIFAR-10, of which the 400 were some 4 %:
"""

TAUGHT = """
### Distilled, and chosen without labels

`lnbench convert --to localnorm --layers firstK --distill images:…` on the 600 photographs (540 to learn
from, 60 held out), batches of 20, no labels, weights and biases of the first layers, the usual rate;
ResNet-20 on 4,660 lossless training images, batches of 60. ± over seeds (Student's t):
"""

CHOSEN = """
Where little was lost, little is won: on EfficientNet-Lite0 three layers win back less than a point, which
200 images hardly tell from none. ResNet-20's seven layers win two points clean and six under noise.

`lnbench choose` on 32 of the 600, tuned on the four extra corruptions at severities 3 and 5, tried 14
modes and proposed `blend:N=16,layers=first9`, with a gain of 2.0 ± 4.0 points of agreement: within
chance, as it said (`benchmarks/results/depth_choice.json`). It put `local:layers=first1` at a cost of
3.1 points and a *loss* of 9.0 ± 5.6: speckle noise, blur, spatter and saturation are not what a first
layer undoes, and contrast is none of the four. What is chosen by them says nothing about contrast.
"""

LIMITS = """
### What this section lacks

- The 200 test photographs are probably of the network's training set: accuracies are high.
- Curves over depth have four corruptions at severity 5; the fifteen at three severities have four modes.
- No recipe of distillation was searched for: depth, epochs, rate and losses are what was tried first.
- `local:layers=first1` was known to help under contrast from a trial on 200 of the same 800 photographs: its
  figures confirm that trial, they are no prediction.
"""
