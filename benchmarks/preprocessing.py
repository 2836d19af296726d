"""Mistakes of preprocessing on real networks: what they cost, and which statistic notices them how often.

    python -m benchmarks.preprocessing SHARED [--photographs 128] [--draws 500]

SHARED holds the checkpoints and images (`checkpoints/`, `data/`). Every network sees its images under every
normalization and both channel orders once; false alarms and misses are then counted over many draws of the 64
images that the check looks at. Writes benchmarks/results/preprocessing.json and the table of docs/inputs.md.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lnbench.data import loading, specs
from lnbench.data.labels import Labels, Outputs, class_map
from lnbench.data.store import Decoding, Store
from lnbench.evaluate import channels
from lnbench.evaluate.answers import columns_of, selection
from lnbench.models.classifier import Classifier
from lnbench.models.load import load
from lnbench.norm.convert import convert_like
from lnbench.norm.layer import norm_layers
from lnbench.types import Geometry, InputNormalization

OUT = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"
MARK, END = "<!-- mistakes: python -m benchmarks.preprocessing ../shared -->", "<!-- /mistakes -->"
IMAGENET = InputNormalization()
WRONG = {
    "ImageNet mean/std": IMAGENET,
    "CIFAR-10 mean/std": InputNormalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "mean and std 0.5": InputNormalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "plain 0–1": InputNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "mean right, std 1": None,
    "plain 0–255": InputNormalization((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
USUAL = ("ImageNet mean/std", "CIFAR-10 mean/std", "mean and std 0.5", "plain 0–1", "plain 0–255")
SAMPLE = 64


@dataclass(frozen=True)
class Seen:
    """What a network answers to all images, prepared in one way. All (N,) but the moments, (N, C)."""

    nll: np.ndarray
    entropy: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    means: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Case:
    """A network with its images and what its first norm layer stored."""

    name: str
    classifier: Classifier
    store: Store
    right: InputNormalization
    stored: tuple[Tensor, Tensor]


def cases(shared: Path, folder: Path, photographs: int) -> Iterator[tuple[Case, dict[str, Store]]]:
    """Each network, and its images cropped wrongly."""
    for name in ("resnet20", "resnet56"):
        (weights,) = (shared / "checkpoints").glob(f"cifar10_{name}-*.th")
        yield case(f"cifar:{name}", weights, f"npz:{shared / 'data' / 'cifar10_test_846.npz'}", {})
    for model in ("demo", "demo:localnorm"):
        yield case(model, None, "demo", {})
    with zipfile.ZipFile(shared / "data" / "imagenet_sample_800.zip") as archive:
        names = sorted(archive.namelist())
        for name in names[:: max(1, len(names) // photographs)]:
            archive.extract(name, folder)
    crops = {
        "crop without resize": Geometry(None, 224, "bicubic"),
        "resize 224, crop 224": Geometry(224, 224, "bicubic"),
        "resize to 224×224": Geometry((224, 224), None, "bicubic"),
        "bilinear": Geometry(256, 224, "bilinear"),
        "nearest": Geometry(256, 224, "nearest"),
    }
    weights = shared / "checkpoints" / "tf_efficientnet_lite0.safetensors"
    yield case("timm:tf_efficientnet_lite0", weights, f"folder:{folder}", crops)


def case(
    model: str, weights: Path | None, data: str, crops: dict[str, Geometry]
) -> tuple[Case, dict[str, Store]]:
    loaded = load(model, weights, before_fit=convert_like)
    spec = specs.parse(data)
    store = loading.open_store(spec, Decoding(loaded.geometry))
    classifier = Classifier(loaded.network, loaded.normalization)
    outputs = classifier.classes(*store.images.shape[2:])
    found = class_map(
        Labels(store.classes, store.named, store.occurring, store.source), Outputs(outputs, loaded.names)
    )
    classifier.select = selection(found, classifier.device)
    columns = columns_of(found, classifier.device)
    if columns is not None:
        store = replace(store, labels=columns[torch.from_numpy(store.labels)].numpy())
    _, first = next(iter(norm_layers(loaded.network)))
    stored = (first.running_mean.float(), first.running_var.float())
    others = {name: loading.open_store(spec, Decoding(geometry)) for name, geometry in crops.items()}
    others = {name: replace(other, labels=store.labels) for name, other in others.items()}
    return Case(model, classifier, store, loaded.normalization, stored), others


@torch.inference_mode()
def look(one: Case, normalization: InputNormalization, *, bgr: bool, store: Store | None = None) -> Seen:
    trial = one.classifier.renormalized(normalization)
    _, first = next(iter(norm_layers(trial.network)))
    moments: list[Tensor] = []

    def note(_: object, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        moments.append(torch.stack([x.mean((2, 3)), x.square().mean((2, 3))], 1))

    handle = first.register_forward_pre_hook(note)
    store = store or one.store
    parts = []
    for start in range(0, len(store.labels), SAMPLE):
        pixels = torch.from_numpy(np.array(store.images[start : start + SAMPLE]))
        parts.append(trial.logits(pixels.flip(1) if bgr else pixels).double())
    handle.remove()
    logits, labels = torch.cat(parts), torch.from_numpy(store.labels)
    log_probs = logits.log_softmax(1)
    predicted = logits.argmax(1)
    both = torch.cat(moments).double()
    return Seen(
        F.nll_loss(log_probs, labels, reduction="none").numpy(),
        -(log_probs.exp() * log_probs).sum(1).numpy(),
        predicted.numpy(),
        (predicted == labels).numpy(),
        both[:, 0].numpy(),
        both[:, 1].numpy(),
    )


def distance(one: Case, seen: Seen, chosen: np.ndarray) -> float:
    """`lnbench.norm.distance` of the first norm layer, on some of the images."""
    mean = seen.means[chosen].mean(0)
    var = np.maximum(seen.squares[chosen].mean(0) - mean**2, 1e-12)
    stored_mean, stored_var = (t.double().numpy() for t in one.stored)
    scale = np.sqrt(np.maximum(stored_var, 1e-12))
    return float((np.abs(mean - stored_mean) / scale + np.abs(np.log(np.sqrt(var) / scale))).mean())


def z(worse: np.ndarray, better: np.ndarray, chosen: np.ndarray) -> float:
    """By how many standard errors the mean over images of `better` lies below that of `worse`, paired."""
    gain = worse[chosen] - better[chosen]
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return float(gain.mean() / error) if error > 0 else 0.0


def judged(given: np.ndarray, flipped: np.ndarray, order: np.ndarray) -> float:
    """1.0 where the check of the channels would warn on images in this order."""
    for stop in channels.looks(min(channels.LOOKS[-1], len(order))):
        chosen = order[:stop]
        if channels.verdict(given[chosen], flipped[chosen]) is not None:
            return 1.0
        if channels.is_clear(given[chosen], flipped[chosen]):
            return 0.0
    return 0.0


def study(one: Case, crops: dict[str, Store], draws: int) -> dict[str, Any]:
    right = one.right
    norms: dict[str, InputNormalization] = {
        name: wrong or InputNormalization(right.mean, (1.0, 1.0, 1.0)) for name, wrong in WRONG.items()
    }
    seen = {(name, bgr): look(one, value, bgr=bgr) for name, value in norms.items() for bgr in (False, True)}
    seen |= {("right", bgr): look(one, right, bgr=bgr) for bgr in (False, True)}
    random = np.random.default_rng(0)
    size = min(SAMPLE, len(one.store.labels))
    samples = [random.choice(len(one.store.labels), size, replace=False) for _ in range(draws)]
    orders = [random.permutation(len(one.store.labels)) for _ in range(draws)]
    base = float(seen["right", False].correct.mean())
    rows = []
    asked = [("right", False), ("right", True)]
    asked += [(name, False) for name, value in norms.items() if value != right]
    for name, bgr in asked:
        mistake = "none" if name == "right" and not bgr else "channels in BGR order" if bgr else name
        own = seen[name, bgr]
        flipped = seen[name, not bgr]
        others = {other: seen[other, bgr] for other in USUAL if other != name and norms[other] != right}
        others["right"] = seen["right", bgr]
        noted: dict[str, list[float]] = {"own": [], "first": [], "flip z": [], "entropy z": [], "norm z": []}
        for chosen in samples:
            mine = distance(one, own, chosen)
            trials = [distance(one, seen[other, bgr], chosen) for other in USUAL]
            noted["own"].append(mine)
            noted["first"].append(float(mine >= 0.25 and min(trials) <= mine / 2))
            noted["flip z"].append(z(own.nll, flipped.nll, chosen))
            noted["entropy z"].append(z(own.entropy, flipped.entropy, chosen))
            noted["norm z"].append(max(z(own.nll, other.nll, chosen) for other in others.values()))
        rows.append(
            {
                "mistake": mistake,
                "accuracy": float(own.correct.mean()),
                "lost": base - float(own.correct.mean()),
                "agreement with flipped": float((own.predicted == flipped.predicted).mean()),
                "distance": float(np.median(noted["own"])),
                "channels warned": float(np.mean([judged(own.nll, flipped.nll, order) for order in orders])),
                "first layer warns": float(np.mean(noted["first"])),
                **{
                    f"{what} > {least}": float(np.mean(np.array(noted[what]) > least))
                    for what in ("flip z", "entropy z", "norm z")
                    for least in (2, 3, 4)
                },
                "flip z median": float(np.median(noted["flip z"])),
                "flip z largest": float(np.max(noted["flip z"])),
                "norm z median": float(np.median(noted["norm z"])),
                "norm z largest": float(np.max(noted["norm z"])),
            }
        )
    for name, store in crops.items():
        own, flipped = (look(one, right, bgr=bgr, store=store) for bgr in (False, True))
        flips = [z(own.nll, flipped.nll, chosen) for chosen in samples]
        mine = [distance(one, own, chosen) for chosen in samples]
        warned = [judged(own.nll, flipped.nll, order) for order in orders]
        rows.append(
            {
                "mistake": name,
                "accuracy": float(own.correct.mean()),
                "lost": base - float(own.correct.mean()),
                "distance": float(np.median(mine)),
                "channels warned": float(np.mean(warned)),
                "flip z largest": float(np.max(flips)),
            }
        )
    return {"network": one.name, "images": len(one.store.labels), "draws": draws, "rows": rows}


def table(found: Sequence[dict[str, Any]]) -> str:
    """The study as a Markdown table."""
    lines = [
        "| network | images | mistake | top-1 | lost | first norm layer warns | channels warned of |",
        "|:--|--:|:--|--:|--:|--:|--:|",
    ]
    for one in found:
        for row in one["rows"]:
            first = row.get("first layer warns")
            # The channels are asked for only where the first layer is content.
            asked = row["channels warned"] * (1 - (first or 0))
            shown = "–" if first is None else f"{100 * first:.1f} %"
            figures = f"{100 * row['accuracy']:.1f} | {100 * row['lost']:.1f} | {shown} | {100 * asked:.1f} %"
            lines.append(f"| {one['network']} | {one['images']} | {row['mistake']} | {figures} |")
    return "\n".join(lines) + "\n"


def write(found: Sequence[dict[str, Any]]) -> None:
    """Keep the figures, and put the table into docs/inputs.md."""
    (OUT / "preprocessing.json").write_text(json.dumps(found, indent=1) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    head, mark, rest = text.partition(MARK)
    PAGE.write_text(f"{head}{mark}\n{table(found)}{rest[rest.index(END) :]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path)
    parser.add_argument("--photographs", type=int, default=128)
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    with TemporaryDirectory() as folder:
        for one, crops in cases(options.shared, Path(folder), options.photographs):
            found.append(study(one, crops, options.draws))
            print(json.dumps(found[-1], indent=1), flush=True)
    write(found)


if __name__ == "__main__":
    main()
