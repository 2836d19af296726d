"""Modes that adapt on the stream under the protocols of the literature, on CIFAR-10 with a ResNet-20.

    unzip -q cifar10_jpeg_test.zip -d cifar        # test/airplane/0000.jpg …
    python -m benchmarks.adaptation run --weights cifar10_resnet20-12fca82f.th --data folder:cifar/test
    python -m benchmarks.adaptation table          # the tables of docs/adaptation.md

Every run is one `lnbench evaluate`, printed as it starts; a study that was interrupted goes on. Reduced on
purpose, so that two cores suffice: 1,000 images, three corruptions, severity 5, three seeds. The seed decides
the images, their noise and their order.
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
from typing import Any

CORRUPTIONS = ("gaussian_noise", "fog", "contrast")
SETTINGS: dict[str, list[str]] = {
    "reset": ["--batch-size", "200"],
    "continual": ["--batch-size", "200", "--sequence", "continual"],
    "dirichlet 0.1": ["--batch-size", "200", "--order", "dirichlet:delta=0.1"],
    "mixed": ["--batch-size", "200", "--mixed"],
    "batch 16": ["--batch-size", "16"],
}
# Run by run, so that one can be added to a study of the others. Modes whose answers depend on an image alone
# are the same in every setting.
IMAGE = ("fixed", "local", "blend:N=16", "iabn:k=4", "adapt:n=32")
GROUPS = {
    "stream": ("fixed", "batch", "ema", "tent:lr=0.001,optimizer=adam"),
    "filters": ("eta:lr=0.001,optimizer=adam,d=0.4",),
}
RESULTS = Path(__file__).parent / "results" / "adaptation.json"


def groups(setting: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and modes of the runs of a setting."""
    if setting == "reset":
        yield "image", IMAGE
    for name, modes in GROUPS.items():
        # `fixed` beside the others once: what their time is compared with.
        yield name, modes if setting == "reset" else tuple(mode for mode in modes if mode != "fixed")


def run(given: argparse.Namespace) -> None:
    """Every run that is not finished yet, seed by seed."""
    for seed in range(given.seeds):
        for setting, options in SETTINGS.items():
            for group, modes in groups(setting):
                if group not in given.group:
                    continue
                out = given.runs / f"{setting}-{seed}-{group}".replace(" ", "-")
                if (out / "results.json").exists():
                    continue
                words = [
                    "evaluate", "--preset", "tta-cifar10-c", "--model", "cifar:resnet20",
                    "--weights", given.weights, "--data", given.data, "--limit", "1000", "--seed", str(seed),
                    "--cache", str(given.runs / "cache"), "--out", str(out), *options,
                ]  # fmt: skip
                words += [word for name in CORRUPTIONS for word in ("--corruption", name)]
                words += [word for mode in modes for word in ("--norm", mode)]
                print("lnbench", shlex.join(words), flush=True)
                subprocess.run(
                    [sys.executable, "-m", "lnbench", *words], check=True, stdout=subprocess.DEVNULL
                )
    collect(given)


def collect(given: argparse.Namespace) -> None:
    """Keep what the runs found: a row for each mode, setting and seed."""
    rows = []
    for setting in SETTINGS:
        for seed in range(given.seeds):
            for group, _ in groups(setting):
                file = given.runs / f"{setting}-{seed}-{group}".replace(" ", "-") / "results.json"
                if file.exists():
                    rows += _rows(setting, seed, json.loads(file.read_text()))
    head = {"images": 1000, "corruptions": CORRUPTIONS, "severity": 5, "model": "cifar:resnet20"}
    lines = ",\n".join(json.dumps(row) for row in rows)
    RESULTS.write_text(f'{{"about": {json.dumps(head)},\n"rows": [\n{lines}\n]}}\n')


def _rows(setting: str, seed: int, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for mode in record["suite"]["modes"]:
        cells = [c for c in record["cells"] if c["mode"] == mode]
        corrupted = [c for c in cells if c["corruption"] != "clean"]
        tenths = [c["course"]["tenths"] for c in corrupted if "course" in c]
        counts: dict[str, float] = {}
        for cell in corrupted[:1] if setting == "mixed" else corrupted:
            for name, value in cell.get("counts", {}).items():
                counts[name] = counts.get(name, 0) + value
        yield {
            "setting": setting,
            "seed": seed,
            "mode": mode,
            "clean": next(c["top1"] for c in cells if c["corruption"] == "clean"),
            "top1": {c["corruption"]: c["top1"] for c in corrupted},
            "tenths": [round(statistics.fmean(part), 4) for part in zip(*tenths, strict=True)],
            "counts": counts,
            "seconds": round(sum(c["seconds"] for c in cells), 2),
        }


def table(_: argparse.Namespace) -> None:
    """Mean error over the corruptions, mean over the seeds ± half their range, in Markdown."""
    rows = json.loads(RESULTS.read_text())["rows"]
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    print("| mode | " + " | ".join(SETTINGS) + " |\n|:--|" + "--:|" * len(SETTINGS))
    for mode in modes:
        entries = []
        for setting in SETTINGS:
            own = [r for r in rows if (r["mode"], r["setting"]) == (mode, setting)]
            errors = [100 * (1 - statistics.fmean(row["top1"].values())) for row in own]
            spread = (max(errors) - min(errors)) / 2 if errors else 0
            entries.append(f"{statistics.fmean(errors):.1f} ±{spread:.1f}" if errors else "–")
        print(f"| `{mode}` | " + " | ".join(entries) + " |")
    print("\n| mode | setting | first tenth | last tenth |\n|:--|:--|--:|--:|")
    for mode in modes:
        for setting in SETTINGS:
            ends = [
                [100 * row["tenths"][k] for row in rows
                 if (row["mode"], row["setting"]) == (mode, setting) and row["tenths"]]
                for k in (0, -1)
            ]  # fmt: skip
            if ends[0]:
                first, last = (f"{statistics.fmean(values):.1f}" for values in ends)
                print(f"| `{mode}` | {setting} | {first} | {last} |")
    print("\n| mode | time × `fixed` |\n|:--|--:|")
    seconds = {(r["mode"], r["seed"]): r["seconds"] for r in rows if r["setting"] == "reset"}
    for mode in GROUPS["stream"]:
        ratios = [
            own / seconds["fixed", seed]
            for (name, seed), own in seconds.items()
            if name.startswith(mode.split(":")[0])
        ]
        if ratios:
            print(f"| `{mode}` | {min(ratios):.2f}–{max(ratios):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["run", "collect", "table"])
    parser.add_argument("--weights")
    parser.add_argument("--data")
    parser.add_argument("--runs", type=Path, default=Path("runs/adaptation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--group", nargs="+", default=["image", *GROUPS])
    given = parser.parse_args()
    {"run": run, "collect": collect, "table": table}[given.action](given)


if __name__ == "__main__":
    main()
