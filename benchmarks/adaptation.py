"""Modes that adapt on the stream under the protocols of the literature, on three networks.

    unzip -q cifar10_jpeg_test.zip -d cifar        # test/airplane/0000.jpg …
    unzip -q imagenet_sample_800.zip -d photographs   # n01440764/….JPEG
    python -m benchmarks.adaptation run --checkpoints DIR --cifar cifar/test --photographs photographs
    python -m benchmarks.adaptation table          # the tables of docs/adaptation.md

Every run is one call of `lnbench.evaluate`, the same figures as `lnbench evaluate`, and is printed as it
starts; a study that was interrupted goes on, and a mode that is added is run alone. Reduced on purpose, so
that a part of one processor core suffices; `NETWORKS` says how far. The seed decides the images, their noise
and their order.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lnbench
from lnbench.memory import keep_freed
from lnbench.results import schema

RESULTS = Path(__file__).parent / "results" / "adaptation.json"


class Network(NamedTuple):
    """A network of the study, what it is shown, and the options of the modes that learn."""

    model: str
    weights: str
    preset: str
    data: str
    images: int
    corruptions: tuple[str, ...]
    batch: int
    learn: str
    filters: str
    fisher: str


# A network's own batch but where it says otherwise.
SETTINGS: dict[str, dict[str, Any]] = {
    "reset": {},
    "continual": {"sequence": "continual"},
    "dirichlet 0.1": {"order": "dirichlet:delta=0.1"},
    "mixed": {"mixed": True},
    "batch 64": {"batch_size": 64},
    "batch 16": {"batch_size": 16},
    "continual 16": {"batch_size": 16, "sequence": "continual"},
    "batch 1": {"batch_size": 1},
    # All fifteen corruptions with 5,000 images each.
    "long, reset": {"corruptions": None, "limit": 5000},
    "long, continual": {"corruptions": None, "limit": 5000, "sequence": "continual"},
    "long, dirichlet 0.1": {"corruptions": None, "limit": 5000, "order": "dirichlet:delta=0.1"},
    "long, mixed": {"corruptions": None, "limit": 5000, "mixed": True},
}
CIFAR = 200, "lr=0.001,optimizer=adam", ",d=0.4", ",fisher=100,alpha=1"
NETWORKS = {
    "resnet20": Network(
        "cifar:resnet20", "cifar10_resnet20-12fca82f.th", "tta-cifar10-c", "cifar",
        1000, ("gaussian_noise", "fog", "contrast"), *CIFAR,
    ),
    "resnet56": Network(
        "cifar:resnet56", "cifar10_resnet56-4bfd9763.th", "tta-cifar10-c", "cifar",
        1000, ("gaussian_noise", "contrast"), *CIFAR,
    ),
    "efficientnet": Network(
        "timm:tf_efficientnet_lite0", "tf_efficientnet_lite0.safetensors", "tta-imagenet-c", "photographs",
        256, ("gaussian_noise", "contrast"), 64, "lr=0.00025", "", ",fisher=100",
    ),
}  # fmt: skip
# What is most worth knowing first: any beginning of this list is a table. Each of the 800 photographs has a
# class of its own, so no order by class is another than a shuffle.
USUAL = ("reset", "continual", "dirichlet 0.1", "batch 16", "mixed")
SMALL = ("reset", "mixed", "batch 16", "continual")
MORE = ("continual 16", "batch 64", "batch 1")
LONG = tuple(setting for setting in SETTINGS if setting.startswith("long"))
ROUNDS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    *((name, seed, USUAL) for name in ("resnet20", "resnet56") for seed in (0, 1, 2)),
    *(("efficientnet", seed, SMALL) for seed in (0, 1, 2)),
    *(("resnet20", seed, MORE) for seed in (0, 1, 2)),
    ("resnet20", 0, LONG),
    *(("resnet56", seed, MORE) for seed in (0, 1, 2)),
    *(("efficientnet", seed, ("batch 1",)) for seed in (0, 1, 2)),
    *((name, seed, LONG) for name in ("resnet20", "resnet56") for seed in (0, 1, 2)),
)
# Answers that depend on an image alone are the same in every setting.
IMAGE = ("fixed", "local", "blend:N=16", "iabn:k=4", "adapt:n=32")
ORDER = ("fixed", "local", "blend", "iabn", "adapt", "batch", "ema", "tent", "eta", "eata", "sar")  # of rows


def wanted(network: Network, setting: str) -> list[str]:
    """The modes of a setting."""
    if setting == "batch 1":  # what learns is refused there, and `batch` is `local`
        return ["ema:m=0.05"]
    stream = [
        "batch",
        "ema:m=0.05",
        f"tent:{network.learn}",
        f"eta:{network.learn}{network.filters}",
        f"eata:{network.learn}{network.filters}{network.fisher}",
        "sar:lr=resnet",
    ]
    return [*(IMAGE if setting in ("reset", "long, reset") else ()), *stream]


def run(given: argparse.Namespace) -> None:
    """Every run that has modes without a row yet, one after another."""
    keep_freed()
    for name, seed, settings in ROUNDS:
        network = NETWORKS[name]
        for setting in settings:
            rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
            own = {
                _short(r) for r in rows if (r["network"], r["setting"], r["seed"]) == (name, setting, seed)
            }
            modes = [mode for mode in wanted(network, setting) if mode.split(":")[0] not in own]
            if not modes:
                continue
            options = {
                "preset": network.preset,
                "weights": given.checkpoints / network.weights,
                "corruptions": network.corruptions,
                "modes": modes,
                "limit": network.images,
                "seed": seed,
                "batch_size": network.batch,
                **SETTINGS[setting],
            }
            print(name, network.model, options, flush=True)
            data = f"folder:{getattr(given, network.data)}"
            record = lnbench.evaluate(
                network.model,
                data,
                cache=given.cache,
                progress=False,
                **options,  # type: ignore[arg-type]
            )
            rows += _rows(name, setting, seed, record.content)
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


def _rows(network: str, setting: str, seed: int, record: schema.Record) -> Iterator[dict[str, Any]]:
    for mode in record.suite.modes:
        cells = [cell for cell in record.cells if cell.mode == mode]
        corrupted = [cell for cell in cells if cell.condition.is_corrupted]
        tenths = [cell.course.tenths for cell in corrupted if cell.course is not None]
        counts: Counter[str] = Counter()
        for cell in corrupted[:1] if SETTINGS[setting].get("mixed") else corrupted:
            counts.update(cell.counts or {})  # type: ignore[arg-type]
        yield {
            "network": network,
            "setting": setting,
            "seed": seed,
            "mode": mode,
            "clean": next((cell.top1 for cell in cells if cell.condition.is_clean), None),
            "top1": {cell.corruption: cell.top1 for cell in corrupted},
            "tenths": [round(statistics.fmean(part), 4) for part in zip(*tenths, strict=True)],
            "counts": counts,
        }


def table(_: argparse.Namespace) -> None:
    """Errors, first and last tenths of each network, in Markdown; mean over seeds ± half their range."""
    print("\n".join(tables(json.loads(RESULTS.read_text())["rows"])))


def tables(rows: list[dict[str, Any]]) -> list[str]:
    rows = sorted(({**row, "mode": _short(row)} for row in rows), key=lambda row: ORDER.index(row["mode"]))
    lines = []
    for name in NETWORKS:
        for kind, settings in (("", [one for one in SETTINGS if one not in LONG]), (" long", LONG)):
            own = [row for row in rows if row["network"] == name and row["setting"] in settings]
            run = [setting for setting in settings if any(row["setting"] == setting for row in own)]
            if run:
                lines += [f"<!-- {name}{kind} -->", *_errors(own, run), "", *_tenths(own, run), ""]
            if kind and {"long, reset", "long, continual"} <= set(run):
                lines += [*_gains(own), ""]
    return lines


def _head(first: str, settings: list[str]) -> list[str]:
    titles = (setting.removeprefix("long, ") for setting in settings)
    return [f"| {first} | {' | '.join(titles)} |", "|:--|" + "--:|" * len(settings)]


def _errors(rows: list[dict[str, Any]], settings: list[str]) -> list[str]:
    seeds = {s: len({row["seed"] for row in rows if row["setting"] == s}) for s in settings}
    lines = _head("mode", settings)
    for mode in dict.fromkeys(row["mode"] for row in rows):
        entries = []
        for setting in settings:
            found = [row for row in rows if (row["mode"], row["setting"]) == (mode, setting)]
            errors = [100 * (1 - statistics.fmean(row["top1"].values())) for row in found]
            spread = f" ±{(max(errors) - min(errors)) / 2:.1f}" if len(errors) > 1 else ""
            entries.append(f"{statistics.fmean(errors):.1f}{spread}" if errors else "–")
        lines.append(f"| `{mode}` | {' | '.join(entries)} |")
    lines.append(f"| seeds | {' | '.join(str(seeds[setting]) for setting in settings)} |")
    return lines


def _tenths(rows: list[dict[str, Any]], settings: list[str]) -> list[str]:
    lines = _head("first → last tenth", settings)
    for mode in dict.fromkeys(row["mode"] for row in rows if row["tenths"]):
        entries = []
        for setting in settings:
            found = [row["tenths"] for row in rows if (row["mode"], row["setting"]) == (mode, setting)]
            ends = [100 * statistics.fmean(tenths[k] for tenths in found) for k in (0, -1)] if found else []
            entries.append(f"{ends[0]:.0f} → {ends[1]:.0f}" if ends else "–")
        lines.append(f"| `{mode}` | {' | '.join(entries)} |")
    return lines


def _gains(rows: list[dict[str, Any]]) -> list[str]:
    """What steps along a gradient bring beyond `batch`, corruption by corruption in the stream's order."""
    kinds, run = ("reset", "continual"), {(row["mode"], row["setting"]) for row in rows}
    learning = ORDER[ORDER.index("tent") :]
    modes = [mode for mode in learning if all((mode, f"long, {kind}") in run for kind in kinds)]

    def right(mode: str, kind: str, corruption: str) -> float:
        found = [row for row in rows if (row["mode"], row["setting"]) == (mode, f"long, {kind}")]
        return 100 * statistics.fmean(row["top1"][corruption] for row in found)

    columns = [(mode, kind) for kind in kinds for mode in modes]
    titles = (f"`{mode}` {kind}" for mode, kind in columns)
    lines = [f"| points above `batch` | {' | '.join(titles)} |", "|:--|" + "--:|" * len(columns)]
    for corruption in rows[0]["top1"]:
        gains = (right(*one, corruption) - right("batch", one[1], corruption) for one in columns)
        lines.append(f"| {corruption} | {' | '.join(f'{round(gain, 1) + 0.0:+.1f}' for gain in gains)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/adaptation"))
    given = parser.parse_args()
    {"run": run, "table": table}[given.action](given)


if __name__ == "__main__":
    main()
