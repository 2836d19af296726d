"""The part of docs/localnorm.md on depth, and its figure, from the kept results of depth_study and depth_layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from lnbench.results.scores import wilson

HERE = Path(__file__).parent
FIGURE = HERE.parent / "docs" / "img" / "localnorm-depth.png"
FIRST = "local:layers=first1"
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
    text.append(WHY + "\n\n" + shifts(layers) + "\n\n![What each layer sees](img/localnorm-depth.png)")
    text.append(TAUGHT)
    text.append(LIMITS)
    return "\n\n".join(one.strip() for one in text)


def table(run: dict[str, Any]) -> str:
    """A row for each mode, top-1 with half of its 95 % interval over the images."""
    cells: Cells = run["cells"]
    conditions = list(dict.fromkeys(name for found in cells.values() for name in found))
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
    cells: Cells = {}
    for name in ("contrast-fp32", "depth"):
        for mode, found in study.get(name, {"cells": {}})["cells"].items():
            cells[mode] = {**cells.get(mode, {}), **found}
    lines = [RULE]
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
        axis.set(title=f"distance from the stored statistics, {mode}", xlabel="norm layer", ylim=(0, 2))
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    axes[2].semilogy(depth, [layers["pixels"][name] for name in names], color="black")
    axes[2].set(title="pixels that an image's statistic is taken from", xlabel="norm layer")
    axes[2].title.set_fontsize(9)
    axes[2].grid(alpha=0.3)
    figure.savefig(FIGURE, dpi=110, metadata={"Software": None})
    plt.close(figure)
