"""Modes that adapt on the stream under the protocols of the literature, on three networks.

    unzip -q cifar10_jpeg_test.zip -d cifar        # test/airplane/0000.jpg …
    unzip -q imagenet_sample_800.zip -d photographs   # n01440764/….JPEG
    python -m benchmarks.adaptation run --checkpoints DIR --cifar cifar/test --photographs photographs
    python -m benchmarks.adaptation table          # the tables of docs/adaptation.md

Every run is one `lnbench evaluate`, printed as it starts; a study that was interrupted goes on, and a mode
that is added is run alone. Reduced on purpose, so that a part of one processor core suffices; `NETWORKS` says
how far. The seed decides the images, their noise and their order.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results" / "adaptation.json"


class Network(NamedTuple):
    """A network of the study: what it is shown, and in batches of how many where nothing else is said."""

    model: str
    weights: str
    preset: str
    data: str
    images: int
    corruptions: tuple[str, ...]
    batch: int
    settings: tuple[str, ...]
    learn: str
    """Options of the modes that learn."""


SETTINGS: dict[str, tuple[str, ...]] = {
    "reset": (),
    "continual": ("--sequence", "continual"),
    "dirichlet 0.1": ("--order", "dirichlet:delta=0.1"),
    "mixed": ("--mixed",),
    "batch 16": ("--batch-size", "16"),
    "batch 64": ("--batch-size", "64"),
    "continual 16": ("--batch-size", "16", "--sequence", "continual"),
    "batch 1": ("--batch-size", "1"),
}
CIFAR = "lr=0.001,optimizer=adam"
NETWORKS = {
    "resnet20": Network(
        "cifar:resnet20", "cifar10_resnet20-12fca82f.th", "tta-cifar10-c", "cifar",
        1000, ("gaussian_noise", "fog", "contrast"), 200, tuple(SETTINGS), CIFAR,
    ),
    "resnet56": Network(
        "cifar:resnet56", "cifar10_resnet56-4bfd9763.th", "tta-cifar10-c", "cifar",
        256, ("gaussian_noise", "contrast"), 64, ("reset", "mixed", "continual"), CIFAR,
    ),
    "efficientnet": Network(
        "timm:tf_efficientnet_lite0", "tf_efficientnet_lite0.safetensors", "tta-imagenet-c", "photographs",
        64, ("gaussian_noise", "contrast"), 16, ("reset", "mixed", "continual"), "lr=0.00025",
    ),
}  # fmt: skip
# What is most worth knowing first: any beginning of this list is a table.
USUAL = ("reset", "continual", "dirichlet 0.1", "mixed", "batch 16")
ROUNDS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("resnet20", 0, ("reset", "continual", "dirichlet 0.1")),
    ("resnet56", 0, ("reset",)),
    ("efficientnet", 0, ("reset",)),
    ("resnet20", 0, ("batch 16", "mixed", "continual 16", "batch 64", "batch 1")),
    ("resnet56", 0, ("mixed",)),
    ("efficientnet", 0, ("mixed",)),
    ("resnet20", 1, USUAL),
    ("resnet20", 2, USUAL),
    # All that is left.
    *((name, seed, ()) for seed in range(3) for name in ("resnet20", "resnet56", "efficientnet")),
)
# Answers that depend on an image alone are the same in every setting, and so is `fixed`.
IMAGE = ("fixed", "local", "blend:N=16", "iabn:k=4", "adapt:n=32")


def wanted(network: Network, setting: str) -> list[str]:
    """The modes of a setting."""
    if setting == "batch 1":  # what learns is refused there, and `batch` is `local`
        return ["ema:m=0.05"]
    small = network.learn.startswith("lr=0.001")
    filters = ",d=0.4" if small else ""
    # The rule of SAR's authors for batches below 32: 0.00025 / 64 · 2 · batch.
    rate = 0.000125 if "16" in setting or network.batch == 16 else 0.00025
    fisher = ",fisher=100,alpha=1" if small else ",fisher=100"
    stream = [
        "batch",
        "ema:m=0.05",
        f"tent:{network.learn}",
        f"eta:{network.learn}{filters}",
        f"eata:{network.learn}{filters}{fisher}",
        f"sar:lr={rate}",
    ]
    return [*(IMAGE if setting == "reset" else ()), *stream]


def run(given: argparse.Namespace) -> None:
    """Every run that has modes without a row yet, one after another."""
    for name, seed, settings in ROUNDS:
        network = NETWORKS[name]
        for setting in settings or network.settings:
            rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
            own = {
                _short(r) for r in rows if (r["network"], r["setting"], r["seed"]) == (name, setting, seed)
            }
            modes = [mode for mode in wanted(network, setting) if mode.split(":")[0] not in own]
            if not modes:
                continue
            out = given.runs / f"{name}-{setting}-{seed}".replace(" ", "-")
            words = [
                "evaluate", "--preset", network.preset, "--model", network.model,
                "--weights", str(given.checkpoints / network.weights),
                "--data", f"folder:{getattr(given, network.data)}", "--limit", str(network.images),
                "--seed", str(seed), "--batch-size", str(network.batch),
                "--cache", str(given.runs / "cache"), "--out", str(out), *SETTINGS[setting],
            ]  # fmt: skip
            words += [word for corruption in network.corruptions for word in ("--corruption", corruption)]
            words += [word for mode in modes for word in ("--norm", mode)]
            print("lnbench", shlex.join(words), flush=True)
            subprocess.run([sys.executable, "-m", "lnbench", *words], check=True, stdout=subprocess.DEVNULL)
            rows += _rows(name, setting, seed, json.loads((out / "results.json").read_text()))
            _keep(rows)


def _keep(rows: list[dict[str, Any]]) -> None:
    head = {name: network._asdict() for name, network in NETWORKS.items()}
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"severity": 5, "networks": {json.dumps(head)},\n"rows": [\n{lines}\n]}}\n'
    beside = RESULTS.with_suffix(".new")
    beside.write_text(text)
    beside.replace(RESULTS)


def _short(row: dict[str, Any]) -> str:
    return str(row["mode"]).split(":")[0]


def _rows(network: str, setting: str, seed: int, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for mode in record["suite"]["modes"]:
        cells = [c for c in record["cells"] if c["mode"] == mode]
        corrupted = [c for c in cells if c["corruption"] != "clean"]
        tenths = [c["course"]["tenths"] for c in corrupted if "course" in c]
        counts: dict[str, float] = {}
        for cell in corrupted[:1] if setting == "mixed" else corrupted:
            for name, value in cell.get("counts", {}).items():
                counts[name] = counts.get(name, 0) + value
        yield {
            "network": network,
            "setting": setting,
            "seed": seed,
            "mode": mode,
            "clean": next((c["top1"] for c in cells if c["corruption"] == "clean"), None),
            "top1": {c["corruption"]: c["top1"] for c in corrupted},
            "tenths": [round(statistics.fmean(part), 4) for part in zip(*tenths, strict=True)],
            "counts": counts,
        }


def table(_: argparse.Namespace) -> None:
    """Errors, first and last tenths of each network, in Markdown; mean over seeds ± half their range."""
    rows = json.loads(RESULTS.read_text())["rows"]
    for row in rows:
        row["mode"] = _short(row)
    for name, network in NETWORKS.items():
        own = [row for row in rows if row["network"] == name]
        if own:
            print(f"\n<!-- {name} -->")
            _errors(own, [s for s in network.settings if any(row["setting"] == s for row in own)])
            print()
            _tenths(own, network.settings)


def _errors(rows: list[dict[str, Any]], settings: list[str]) -> None:
    seeds = {s: len({row["seed"] for row in rows if row["setting"] == s}) for s in settings}
    print("| mode | " + " | ".join(settings) + " |\n|:--|" + "--:|" * len(settings))
    for mode in dict.fromkeys(row["mode"] for row in rows):
        entries = []
        for setting in settings:
            found = [row for row in rows if (row["mode"], row["setting"]) == (mode, setting)]
            errors = [100 * (1 - statistics.fmean(row["top1"].values())) for row in found]
            if errors and (mode != "fixed" or setting == "reset"):
                entries.append(f"{statistics.fmean(errors):.1f} ±{(max(errors) - min(errors)) / 2:.1f}")
            else:
                entries.append("–")
        print(f"| `{mode}` | " + " | ".join(entries) + " |")
    print("| seeds | " + " | ".join(str(seeds[setting]) for setting in settings) + " |")


def _tenths(rows: list[dict[str, Any]], settings: tuple[str, ...]) -> None:
    print("| mode | " + " | ".join(settings) + " |\n|:--|" + "--:|" * len(settings))
    for mode in dict.fromkeys(row["mode"] for row in rows if row["tenths"]):
        entries = []
        for setting in settings:
            found = [row["tenths"] for row in rows if (row["mode"], row["setting"]) == (mode, setting)]
            ends = [100 * statistics.fmean(tenths[k] for tenths in found) for k in (0, -1)] if found else []
            entries.append(f"{ends[0]:.0f} → {ends[1]:.0f}" if ends else "–")
        print(f"| `{mode}` | " + " | ".join(entries) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/adaptation"))
    given = parser.parse_args()
    {"run": run, "table": table}[given.action](given)


if __name__ == "__main__":
    main()
