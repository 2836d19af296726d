"""docs/localnorm.md from the cached results of localnorm_study.py; figures and verdicts are computed here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks import depth_report
from benchmarks import localnorm_words as words
from lnbench.results.scores import wilson

DOCS = Path(__file__).parents[1] / "docs"
CONDITIONS = (
    "clean",
    *(f"{name}/{severity}" for name in ("gaussian_noise", "contrast") for severity in (1, 3, 5)),
)
HEAVY = ("gaussian_noise/5", "contrast/5")
T_TWO_SIDED = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t, 95 %, by number of seeds

HEADS = ("clean", *(f"{kind} {severity}" for kind in ("noise", "contrast") for severity in (1, 3, 5)))

Cells = dict[str, float]
Check = tuple[str, bool]


class Study:
    """The results by network: top-1 of each seed."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.networks = list(dict.fromkeys(key.partition("/")[0] for key in results if "/" in key))

    def seeds(self, network: str, data: str, mode: str) -> list[Cells]:
        entries = (entry for key, entry in self.results.items() if key.partition("/")[0] == network)
        return [entry["cells"][data][mode] for entry in entries if mode in entry["cells"].get(data, {})]

    def mean(self, network: str, data: str, mode: str, condition: str) -> float | None:
        values = [cells[condition] for cells in self.seeds(network, data, mode)]
        return sum(values) / len(values) if values else None

    def interval(self, network: str, data: str, mode: str, condition: str) -> float | None:
        """Half of the 95 % interval: over seeds where there are several, else over images (Wilson)."""
        seeds = self.seeds(network, data, mode)
        values = [cells[condition] for cells in seeds]
        if not values:
            return None
        if len(values) == 1:
            return half_width(values[0], seeds[0]["images"])
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
        return T_TWO_SIDED.get(len(values), 1.96) * spread / math.sqrt(len(values))

    def modes(self, network: str, data: str) -> list[str]:
        entry = next(entry for key, entry in self.results.items() if key.partition("/")[0] == network)
        return list(entry["cells"][data])


def write(results: dict[str, Any]) -> None:
    """Write docs/localnorm.md and its plots from the results."""
    study = Study(results)
    (DOCS / "img").mkdir(parents=True, exist_ok=True)
    plot(study, DOCS / "img" / "localnorm-cifar.png")
    parts = [
        words.INTRODUCTION,
        words.SUMMARY,
        fine_tuned(study),
        from_scratch(study),
        small_and_large(study),
        words.COSTS,
        depth_report.part(),
        words.LIMITS,
    ]
    (DOCS / "localnorm.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def verdict(checks: Iterable[Check]) -> str:
    """One line with the verdict, then each check and its outcome."""
    checks = list(checks)
    passed = sum(good for _, good in checks)
    word = "Reproduced" if passed == len(checks) else "Partly reproduced" if passed else "Not reproduced"
    lines = "\n".join(f"- {'yes' if good else 'no'}: {text}" for text, good in checks)
    return f"**{word}** ({passed} of {len(checks)}):\n\n{lines}"


def half_width(rate: float, images: float) -> float:
    """Half of the 95 % Wilson interval."""
    low, high = wilson(round(rate * images), int(images))
    return (high - low) / 2


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...]) -> str:
    lines = [head, tuple("---" if column < 2 else "---:" for column in range(len(head))), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells_table(study: Study, data: str, networks: Iterable[str]) -> str:
    rows = []
    for network in networks:
        if network not in study.networks:
            continue
        for mode in study.modes(network, data):
            values = [
                f"{percent(study.mean(network, data, mode, condition))} ± "
                f"{percent(study.interval(network, data, mode, condition))}"
                for condition in CONDITIONS
            ]
            count = len(study.seeds(network, data, mode))
            rows.append((f"{network} ({count})", f"`{mode}`", *values))
    return table(rows, ("network (seeds)", "mode", *HEADS))


def fine_tuned(study: Study) -> str:
    text = [words.FINE_TUNED]
    for data, name in (("jpeg", "2,000 JPEG test images"), ("lossless", "846 lossless test images, seed 0")):
        text.append(f"Top-1 in percent on {name}:\n\n{cells_table(study, data, SMALL)}")
    text.append("![Accuracy against severity](img/localnorm-cifar.png)")
    for network, mode in (
        *((network, "batch") for network in (*PLAIN, "mixed-k2", "stem-k2")),
        *((network, "local") for network in ("mixed-k2", "single-k2")),
        *((network, EARLY) for network in ("stem-k2", "early-k2")),
    ):
        if network in study.networks:
            text.append(f"`{network}` in `{mode}`: {verdict(claim_one(study, network, mode))}")
    return "\n\n".join(text)


def compared(what: str, own: float, claim: str, rival: float, least: float) -> Check:
    """The check that `own` is at least `rival` + `least`, with both figures in its words."""
    return f"{what}: {percent(own)}, {claim} ({percent(rival)})", own >= rival + least


def claim_one(study: Study, network: str, mode: str) -> list[Check]:
    """The parts of the first claim, for one network and mode, on the JPEG images."""

    def at(name: str, how: str, condition: str) -> float:
        return study.mean(name, "jpeg", how, condition) or 0.0

    def mean(name: str) -> float:
        return sum(at(name, "batch", condition) for condition in CONDITIONS) / len(CONDITIONS)

    checks = []
    for condition in HEAVY:
        own, before = at(network, mode, condition), at("original", "fixed", condition)
        margin = study.interval(network, "jpeg", mode, condition) or 0.0
        rival = at("batchnorm", "fixed", condition)
        checks.append(compared(condition, own, "three times the original's `fixed`", before, 2 * before))
        checks.append(compared(condition, own, "clearly above batchnorm's `fixed`", rival, margin))
    for how in dict.fromkeys((mode, "fixed")):
        # BatchNorm has no `local` worth the name: what it has for a single image is `fixed`.
        against = "fixed" if how.startswith("local") else how
        own, rival = at(network, how, "clean"), at("batchnorm", against, "clean")
        claim = f"within a point of batchnorm's `{against}`"
        checks.append(compared(f"clean, `{how}`", own, claim, rival, -0.01))
    if mode == "batch":
        own, rival = mean(network), mean("batchnorm")
        checks.append(
            compared("mean of all", own, "at most half a point below batchnorm's `batch`", rival, -0.005)
        )
    return checks


def from_scratch(study: Study) -> str:
    text = [words.FROM_SCRATCH, cells_table(study, "demo", SCRATCH)]
    for network in ("scratch-localnorm-k4", "scratch-mixed-k4"):
        checks = []
        for condition in ("clean", *HEAVY):
            own = study.mean(network, "demo", "batch", condition) or 0.0
            rival = study.mean("scratch-batchnorm", "demo", "fixed", condition) or 0.0
            claim, least = ("within a point of", -0.01) if condition == "clean" else ("a point above", 0.01)
            checks.append(compared(condition, own, f"{claim} batchnorm's `fixed`", rival, least))
        text.append(f"`{network}` in `batch`: {verdict(checks)}")
    return "\n\n".join(text)


def small_and_large(study: Study) -> str:
    text = [words.SMALL_AND_LARGE]
    for title, data, base, networks in (
        ("Crops of 64 px, from scratch (table in section 2)", "demo", "scratch-batchnorm", SCRATCH),
        ("CIFAR-10 enlarged to 64 px", "jpeg", "batchnorm-64px", LARGE),
        ("CIFAR-10 at its own 32 px", "jpeg", "batchnorm", SMALL),
        ("The same, trained four times as long", "jpeg", "batchnorm-long", LONG),
    ):
        if base not in study.networks:
            continue
        text.append(f"### {title}")
        if networks in (LARGE, LONG):
            text.append(cells_table(study, data, networks))
        for network in networks:
            mode = EARLY if network.startswith(("stem", "early")) else "local"
            if network != base and study.seeds(network, data, mode):
                text.append(
                    f"`{network}` in `{mode}`: {verdict(claim_three(study, data, network, mode, base))}"
                )
    text.append(why(study))
    return "\n\n".join(text)


def why(study: Study) -> str:
    """What decides what a single image can do: group size, layers, contrast of the image."""
    text = [words.WHY]
    rows = [
        (
            images,
            f"`{network}`",
            *(percent(study.mean(network, "jpeg", mode, c)) for c in ("clean", *HEAVY)),
        )
        for network, mode, images in (
            ("localnorm-k2", "local", "64"),
            ("localnorm-k8", "local:group=0", "16"),
            ("localnorm-k32", "local:group=0", "4"),
            ("single-k2", "local", "1"),
            ("early-k2", EARLY, "1, stem and first stage only"),
            ("stem-k2", EARLY, "1, after the first convolution only"),
        )
        if network in study.networks
    ]
    heads = ("images in a group in training", "network", "clean", "noise 5", "contrast 5")
    text.append(table(rows, heads))
    text.append(words.CONTRAST)
    rows = []
    for network in SCRATCH:
        entries = [study.results[key] for key in study.results if key.startswith(f"{network}/")]
        for condition in ("clean/0", "gaussian_noise/3", "gaussian_noise/5"):
            mode = "fixed" if network == "scratch-batchnorm" else "local"
            found = [entry["by_contrast"][f"{mode}/{condition}"] for entry in entries]
            means = [sum(third) / len(third) for third in zip(*found, strict=True)]
            rows.append((f"`{network}`", f"`{mode}`, {condition.removesuffix('/0')}", *map(percent, means)))
    text.append(table(rows, ("network", "cell", "least", "middle", "most")))
    return "\n\n".join(text)


def claim_three(study: Study, data: str, network: str, mode: str, base: str) -> list[Check]:
    """A single image against the BatchNorm network's batches when clean, and its `fixed` when corrupted."""

    def at(name: str, how: str, condition: str) -> float:
        return study.mean(name, data, how, condition) or 0.0

    clean = compared(
        "clean", at(network, mode, "clean"), "within two points of `batch`", at(base, "batch", "clean"), -0.02
    )
    above = "ten points above batchnorm's `fixed`"
    return [clean] + [compared(c, at(network, mode, c), above, at(base, "fixed", c), 0.1) for c in HEAVY]


def plot(study: Study, path: Path) -> None:
    """Accuracy against severity; lines differ by colour, dash and marker."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    styles = iter(
        zip(("o", "s", "^", "v", "D", "x", "P"), ("-", "--", "-.", ":", "-", "--", "-."), strict=True)
    )
    for network, mode in LINES:
        if network not in study.networks:
            continue
        marker, dash = next(styles)
        for axis, name in zip(axes, ("gaussian_noise", "contrast"), strict=True):
            where = ["clean", *(f"{name}/{severity}" for severity in (1, 3, 5))]
            values = [100 * (study.mean(network, "jpeg", mode, c) or 0.0) for c in where]
            errors = [100 * (study.interval(network, "jpeg", mode, c) or 0.0) for c in where]
            axis.errorbar(
                (0, 1, 3, 5),
                values,
                errors,
                marker=marker,
                linestyle=dash,
                capsize=2,
                label=f"{network}, {mode}",
            )
            axis.set(title=name, xlabel="severity", xticks=(0, 1, 3, 5))
            axis.grid(alpha=0.3)
    axes[0].set_ylabel("top-1, %")
    axes[1].legend(fontsize=7)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


EARLY = "local:layers=localnorm"
PLAIN = ("localnorm-k2", "localnorm-k8", "localnorm-k32")
SMALL = ("original", "batchnorm", *PLAIN, "single-k2", "mixed-k2", "stem-k2", "early-k2")
LONG = ("batchnorm-long", "single-k2-long", "early-k2-long")
LARGE = ("batchnorm-64px", "single-k2-64px", "stem-k2-64px", "early-k2-64px")
SCRATCH = ("scratch-batchnorm", "scratch-localnorm-k4", "scratch-single-k4", "scratch-mixed-k4")
LINES = (
    ("original", "fixed"), ("batchnorm", "fixed"), ("batchnorm", "batch"), ("localnorm-k8", "batch"),
    ("single-k2", "local"), ("mixed-k2", "local"), ("early-k2", EARLY),
)  # fmt: skip
