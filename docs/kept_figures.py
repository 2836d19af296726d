"""What pages must say according to the files that keep the figures, for docs/check_figures.py.

A function for each page or part of one, with the texts that must stand there; `PAGES` names them. Nothing is
measured here: a page and its file say the same, or one of them is out of date.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import adaptation, depth_report, localnorm_report, parity_report, preprocessing, scale_model

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
Figures = list[str]


def kept(name: str) -> Any:
    """The content of a JSON file of benchmarks/results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def half_up(value: float, digits: str = "0.1") -> Decimal:
    """So many decimals, as people round."""
    return Decimal(str(value)).quantize(Decimal(digits), ROUND_HALF_UP)


def signed(value: float) -> str:
    """Two decimals and a true minus sign."""
    return f"{value:+.2f}".replace("-", "−")


def rows(text: str) -> Figures:
    """The rows of a Markdown text's tables, without their rulers."""
    return [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]


def spread_of_draws() -> Figures:
    found: dict[str, list[list[float]]] = {}
    for line in (RESULTS / "draws.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| `(.*?)` \| (.*?) \| (.*) \|$", line):
            figures = [math.nan if f == "–" else float(f) for f in match[3].split(" | ")]
            found.setdefault(match[1], []).append(figures)
    texts = []
    for mode in ("adapt:n=32", "batch, 64 images"):
        spread, half = ([row[place] for row in found[mode]] for place in (2, 5))
        both = [math.hypot(h, 1.96 * s) for s, h in zip(spread, half, strict=True)]
        texts += [" | ".join(f"{value:.1f}" for value in values) for values in (spread, half, both)]
    return [*texts, " | ".join(f"{row[6]:.1f}" for row in found["adapt:n=32,draws=16"])]


def cost_of_layers() -> Figures:
    text = (RESULTS / "norm_cost.md").read_text(encoding="utf-8")
    return [line for line in rows(text) if not line.startswith("| |")]


def cost_of_modes() -> Figures:
    found = kept("mode_cost.json")["relative to fixed"]
    names = ["fixed", "batch", "local", "blend:N=16", "iabn", "adapt", "ema", "tent", "eta", "eata", "sar"]
    chosen = [next(key for key in found if key.startswith(name)) for name in names]
    return [" | ".join(f"{found[key]:.2f}" for key in chosen)]


def mistakes_of_preprocessing() -> Figures:
    return rows(preprocessing.table(kept("preprocessing.json")))


def parity() -> Figures:
    return rows(parity_report.document(RESULTS))


def localnorm() -> Figures:
    study = localnorm_report.Study(kept("localnorm_study.json"))
    parts = (localnorm_report.fine_tuned(study), localnorm_report.from_scratch(study))
    return [line for part in parts for line in rows(part)]


def depth() -> Figures:
    return rows(depth_report.tables(kept("depth_study.json")))


def depth_in_short() -> Figures:
    """What the README says of single images without training."""
    study = kept("depth_study.json")
    fixed, first = (study["grid"]["cells"][mode] for mode in ("fixed", "local:layers=first1"))
    here, there = (100 * cells["contrast/5"] for cells in (first, fixed))
    gains, losses = [], []
    for name in ("resnet20-again", "resnet56-again"):
        cells = study[name]["cells"]
        old, new = cells["fixed"], cells["blend:N=4"]
        gains += [100 * (new[one] - old[one]) for one in depth_report.HEAVY]
        losses.append(100 * (old["clean"] - new["clean"]))
    assert all(2 <= round(loss, 1) <= 3 for loss in losses), losses
    return [
        f"has {here:.1f} % under the heaviest contrast, where its stored statistics leave {there:.1f} %",
        f"brings {min(gains):.0f} to {max(gains):.0f} points under both, one image at a time",
    ]


def adaptation_on_streams() -> Figures:
    return rows("\n".join(adaptation.tables(kept("adaptation.json")["rows"])))


def localnorm_in_short() -> Figures:
    """What the README says of LocalNorm in the first layers alone."""
    study = localnorm_report.Study(kept("localnorm_study.json"))

    def percent(network: str, mode: str, condition: str) -> float:
        return 100 * (study.mean(network, "jpeg", mode, condition) or math.nan)

    early = percent("early-k2", localnorm_report.EARLY, "contrast/5")
    stored = percent("batchnorm", "fixed", "contrast/5")
    lost = percent("batchnorm", "fixed", "clean") - percent("early-k2", localnorm_report.EARLY, "clean")
    points = ("no", "one", "two", "three", "four", "five", "six")[round(lost)]
    words = f"keeps {early:.0f} % under heavy contrast, where its stored statistics keep {stored:.0f} %,"
    return [f"{words} for {points} points of clean"]


def dealing() -> Figures:
    """Simulated again: it takes no time."""
    found = [scale_model.simulate(scale_model.Grid(), world) for world in scale_model.WORLDS]
    return [
        f"| {row['world']:,} | {row['conditions_in_flight']} | {row['windows']} | "
        f"{100 * row['idle_and_overhead']:.1f} % |"
        for row in found
    ]


def killed() -> Figures:
    found = kept("faults.json")
    equal = sum(n for text, n in found["outcomes"].items() if "equal to the undisturbed" in text)
    return [f"--trials {found['trials']}`", f"in {equal} of {found['trials']} trials"]


def damaged() -> Figures:
    text = (RESULTS / "fuzz.md").read_text(encoding="utf-8")
    cases, _, _, *worse = (int(word) for word in re.findall(r"\| all \|(.*)\|", text)[0].split("|"))
    assert not any(worse), "an input ended neither in a result nor in one line"
    return [f"{cases:,} damaged inputs"]


def whole_suites() -> Figures:
    found = []
    for name in ("resnet20", "resnet18"):
        one = kept(f"grid_speed_{name}.json")
        whole, spent = one["seconds"]["grid"], one["seconds"]
        shares = " | ".join(
            f"{100 * spent[part] / whole:.1f} %" for part in ("corruption", "metrics", "writing")
        )
        usual = f"{one['usual']['speedup']:.1f} × as long"
        found.append(f"| {one['efficiency']:.2f} | {shares} | {whole:.0f} s | {usual} |")
    return found


def shared_work() -> Figures:
    found = kept("many_checkpoints.json")
    one, five = found["one_run_cpu_seconds"], found["separate_runs_cpu_seconds"]
    return [f"{one} CPU seconds of one thread against {five} for five runs"]


def corruptions_beside_reference() -> Figures:
    text = (RESULTS / "corruption_speed.md").read_text(encoding="utf-8")
    means = re.findall(r"geometric mean\*\* .*?\*\*([\d.]+)×\*\*.*?\*\*([\d.]+)×\*\*", text)
    (large, large_two), (small, small_two) = means[:2]
    at_32 = f"{float(small):.0f} × and {float(small_two):.0f} × at 32 px"
    return [f"{large} × in the geometric mean at 224 px on one thread and {large_two} × on two, {at_32}"]


def predicted_for_a_gpu() -> Figures:
    found = []
    for name in ("gpu_cost_before", "gpu_cost"):
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        row = re.search(r"\*\*the fifteen\*\* \| \| \| mean ([\d.]+), at most ([\d.]+) \| ([\d.]+%)", text)
        assert row
        found.append(" | ".join(row.groups()))
    own = kept("gpu_cost.json")
    most = max(row["microseconds"] for cost in own.values() for row in cost.values())
    return [*found, f"where the most is {most:.1f}"]


def chunks() -> Figures:
    found = kept("forward_speed.json")["resnet18 by chunk"].values()
    return [" | ".join(str(half_up(value)) for value in row.values()) for row in found]


def compilation() -> Figures:
    texts = []
    for name, digits in (("cifar:resnet20", "0.01"), ("torchvision:resnet18", "0.1")):
        row = kept("forward_speed.json")[name]
        shown = (
            half_up(row["fp32"], digits), half_up(row["compiled"], digits), row["compiled_first_call_s"],
            half_up(row["freezing"], digits), row["freezing_first_call_s"],
        )  # fmt: skip
        texts.append(" | ".join(map(str, shown)))
        texts.append(f"{half_up(row['fp32'], digits)} → {half_up(row['bf16'], digits)} ms")
    return texts


def reduced_precision() -> Figures:
    found = kept("precision.json")
    texts = []
    for model, mode in dict.fromkeys((row["model"], row["mode"]) for row in found):
        own = [row for row in found if (row["model"], row["mode"]) == (model, mode)]
        points = np.array([100 * (row["bf16"] - row["fp32"]) for row in own])
        changed = 100 * float(np.mean([row["images_that_changed"] for row in own])) / 846
        shown = " | ".join(map(signed, (points.mean(), points.min(), points.max())))
        texts.append(f"`{mode}` | {len(own)} | {shown} | {changed:.2f} %")
    return texts


def starting() -> Figures:
    found = kept("start.json")["seconds"]
    shown, listed = found["lnbench --help"], found["lnbench list corruptions"]
    whole = found["lnbench evaluate, 16 images, two conditions"]
    imports, alone = found["import lnbench.evaluate.evaluation"], 1000 * found["import lnbench"]
    return [
        f"--help` takes {shown:.2f} s, `lnbench list` {listed:.2f} s and `import lnbench` {alone:.0f} ms",
        f"takes {whole:.1f} s from start to end, {imports:.1f} of them imports",
    ]


def memory() -> Figures:
    return [
        f"{one['bounded']['peak_mib']:,} MiB | {one['unbounded']['peak_mib']:,} MiB"
        for one in (kept("memory.json"), kept("memory_arrays.json"))
    ]


def sequences_hold() -> Figures:
    """Coverage row by row; of the gate what stands behind the images that differ."""
    found = [line.strip("| ").split(" | ") for line in rows((RESULTS / "sequences.md").read_text("utf-8"))]
    texts = []
    for name, *figures in found:
        if figures[-1].endswith("%"):
            texts.append(" | ".join([name.split(", ", 1)[1], *figures[1:]]))
        elif len(figures) == 7 and figures[1].endswith("%"):
            texts.append(" | ".join(figures[1:]))
    return texts


def images_of_sequences() -> Figures:
    """The middles of the tables of images: three widths of a figure and a set side by side."""
    found = [line.strip("| ").split(" | ") for line in rows((RESULTS / "sequences.md").read_text("utf-8"))]
    entries: dict[tuple[str, str], list[str]] = {}
    for row in (row for row in found if len(row) == 7 and row[2] in ("2", "1", "0.5")):
        pair = " and " in row[0]
        shown = [f"{row[3]}; {row[4]}", f"{row[5]}; {row[6]}"] if pair else [f"{row[3]}; {row[5]}; {row[6]}"]
        entries.setdefault((row[0], row[1]), []).extend(shown)
    return [" | ".join([size, *shown]) for (_, size), shown in entries.items()]


PAGES: dict[str, tuple[Callable[[], Figures], ...]] = {
    "README.md": (localnorm_in_short, depth_in_short),
    "docs/modes.md": (spread_of_draws, cost_of_layers, cost_of_modes),
    "docs/inputs.md": (mistakes_of_preprocessing,),
    "docs/parity.md": (parity,),
    "docs/localnorm.md": (localnorm, depth),
    "docs/adaptation.md": (adaptation_on_streams,),
    "docs/scale.md": (dealing, killed),
    "docs/design.md": (damaged,),
    "docs/rounds.md": (sequences_hold,),
    "docs/results.md": (images_of_sequences,),
    "docs/speed.md": (
        whole_suites, shared_work, corruptions_beside_reference, predicted_for_a_gpu, chunks, compilation,
        reduced_precision, memory, starting,
    ),
}  # fmt: skip
