"""The figures of docs/localnorm.md on depth: accuracy along it, and what each layer sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

IMAGES = Path(__file__).parents[1] / "docs" / "img"
NETWORKS = {
    "curves": "EfficientNet-Lite0, 224 px",
    "resnet56": "ResNet-56, 32 px",
    "resnet20": "ResNet-20, 32 px",
    "demo": "demo network, 64 px",
}
STYLES = (("local", "o"), ("blend:N=1", "s"), ("blend:N=4", "^"), ("blend:N=16", "v"), ("blend:N=64", "D"),
          ("adapt:n=32", "x"))  # fmt: skip
_DEPTH = re.compile(r"layers=first(\d+)$")

Cells = dict[str, dict[str, float]]


def curves(networks: dict[str, Cells]) -> None:
    """Top-1 against the depth that a mode reaches to: clean, and heavy contrast and noise."""
    rows = ("clean", "contrast/5", "gaussian_noise/5")
    figure, axes = plt.subplots(
        len(rows), len(networks), figsize=(11, 7), sharex="col", sharey=True, layout="constrained"
    )
    for column, (name, cells) in enumerate(networks.items()):
        depths = sorted({depth for mode in cells if (depth := depth_of(mode))})
        for axis, condition in zip(axes[:, column], rows, strict=True):
            for reference, dash in (("fixed", "-"), ("batch", "--")):
                axis.axhline(100 * cells[reference][condition], color="black", linestyle=dash, linewidth=1,
                             label=reference)  # fmt: skip
            for family, marker in STYLES:
                points = sorted(
                    (depths.index(depth), 100 * found[condition])
                    for mode, found in cells.items()
                    if (depth := depth_of(mode)) and family_of(mode) == family
                )
                axis.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1, label=family)
            axis.set_xticks(range(len(depths)), [str(depth) for depth in depths])
            axis.grid(alpha=0.3)
            axis.set_ylim(0, 100)
        axes[0, column].set_title(NETWORKS[name], fontsize=9)
        axes[-1, column].set_xlabel("first layers of the mode")
    for axis, condition in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(condition.replace("/", " ") + ", top-1 %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.savefig(IMAGES / "localnorm-curves.png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def depth_of(mode: str) -> int | None:
    found = _DEPTH.search(mode)
    return int(found[1]) if found else None


def family_of(mode: str) -> str:
    """`blend:N=4,layers=first3` → `blend:N=4`."""
    return re.sub(r"[:,]layers=.*", "", mode)


def shifts(layers: dict[str, Any]) -> None:
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
    figure.savefig(IMAGES / "localnorm-depth.png", dpi=110, metadata={"Software": None})
    plt.close(figure)
