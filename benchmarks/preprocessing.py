"""Mistakes of preprocessing on real networks: what they cost, and how often which check notices them.

    python -m benchmarks.preprocessing ../shared [--photographs 200] [--draws 500] [--keep DIR]

`../shared` holds checkpoints and images (`checkpoints/`, `data/`). Every network sees its images under every
mean and std and both orders of channels once (kept in `--keep`, to go on where it was interrupted); how often
the checks of `lnbench.evaluate.preprocessing` warn is then counted over random draws of the images they look
at. Two of the networks are trained here. Writes benchmarks/results/preprocessing.json and the tables of
docs/inputs.md.
"""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnbench.data import loading, specs
from lnbench.data.labels import Labels, Outputs, class_map
from lnbench.data.store import Decoding, Store
from lnbench.evaluate import preprocessing as checks
from lnbench.evaluate.answers import columns_of, selection
from lnbench.models import checkpoint
from lnbench.models.classifier import Classifier
from lnbench.models.demo import demo_network
from lnbench.models.load import load
from lnbench.norm.convert import convert_like
from lnbench.norm.layer import norm_layers
from lnbench.training.finetune import train
from lnbench.training.recipe import Recipe
from lnbench.types import Geometry, InputNormalization

OUT = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"
IMAGENET, CIFAR, HALF, UNIT, BYTES = checks.USUAL.values()
WRONG = {
    "ImageNet mean/std": IMAGENET,
    "CIFAR-10 mean/std": CIFAR,
    "mean and std 0.5": HALF,
    "plain 0–1": UNIT,
    "mean right, std 1": None,
    "plain 0–255": BYTES,
}
CROPS = {
    "crop without resize": Geometry(None, 224, "bicubic"),
    "resize 224, crop 224": Geometry(224, 224, "bicubic"),
    "resize to 224×224": Geometry((224, 224), None, "bicubic"),
    "bilinear": Geometry(256, 224, "bilinear"),
    "nearest": Geometry(256, 224, "nearest"),
}
SURE = (2.0, 3.0, 4.0)  # standard errors that are tried as the threshold
CHUNK = 64


@dataclass(frozen=True)
class Seen:
    """What a network answers to all images, prepared in one way. All (N,) but the moments, (N, C)."""

    nll: np.ndarray
    correct: np.ndarray
    means: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Case:
    """A network with its images, those cropped wrongly too, and what its first norm layer stored, if any."""

    name: str
    classifier: Classifier
    store: Store
    right: InputNormalization
    stored: tuple[Tensor, Tensor] | None
    crops: Mapping[str, Store]


# -- The networks -------------------------------------------------------------------------------------------


def cases(shared: Path, folder: Path, photographs: int, keep: Path) -> Iterator[Case]:
    for name in ("resnet20", "resnet56"):
        (weights,) = (shared / "checkpoints").glob(f"cifar10_{name}-*.th")
        yield case(f"cifar:{name}", weights, f"npz:{shared / 'data' / 'cifar10_test_846.npz'}", {})
    for model in ("demo", "demo:localnorm"):
        yield case(model, None, "demo", {})
    with zipfile.ZipFile(shared / "data" / "imagenet_sample_800.zip") as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        for place in np.linspace(0, len(names) - 1, photographs).astype(int):
            archive.extract(names[place], folder)
    weights = shared / "checkpoints" / "tf_efficientnet_lite0.safetensors"
    yield case("timm:tf_efficientnet_lite0", weights, f"folder:{folder}", CROPS)
    yield from trained(shared, keep)


def case(model: str, weights: Path | None, data: str, crops: Mapping[str, Geometry]) -> Case:
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
    others = {name: loading.open_store(spec, Decoding(geometry)) for name, geometry in crops.items()}
    others = {name: replace(other, labels=store.labels) for name, other in others.items()}
    return Case(model, classifier, store, loaded.normalization, statistics(loaded.network), others)


def trained(shared: Path, keep: Path) -> Iterator[Case]:
    """The demo's network, trained on 4,660 images of CIFAR-10, as it is and without its norm layers."""
    with np.load(shared / "data" / "cifar10_train_4660.npz") as data:
        images, labels = np.ascontiguousarray(data["images"].transpose(0, 3, 1, 2)), data["labels"]
    store = loading.open_store(specs.parse(f"npz:{shared / 'data' / 'cifar10_test_846.npz'}"), Decoding())
    for name, right in (("BatchNorm", CIFAR), ("no norm layers", HALF)):
        torch.manual_seed(0)
        network = demo_network(10)
        if name != "BatchNorm":
            for module in list(network.modules()):
                for child, layer in list(module.named_children()):
                    if isinstance(layer, nn.BatchNorm2d):
                        setattr(module, child, nn.Identity())
        recipe = Recipe(epochs=8, lr=0.05, batch_size=64, weight_decay=5e-4, seed=0)
        path = keep / f"{name}.safetensors"
        if path.exists():
            checkpoint.fit(network, checkpoint.read(path))
        else:
            train(network, images, labels.astype(np.int64), recipe, normalization=right)
            checkpoint.write(path, network.state_dict(), extras={}, metadata={})
        network.eval()
        classifier = Classifier(network, right)
        yield Case(f"trained here, {name}", classifier, store, right, statistics(network), {})


def statistics(network: nn.Module) -> tuple[Tensor, Tensor] | None:
    """What the first norm layer stored."""
    first = next((layer for _, layer in norm_layers(network)), None)
    return None if first is None else (first.running_mean.float(), first.running_var.float())


# -- What they see ------------------------------------------------------------------------------------------


@torch.inference_mode()
def look(one: Case, normalization: InputNormalization, *, bgr: bool = False, crop: str | None = None) -> Seen:
    trial = one.classifier.renormalized(normalization)
    first = next((layer for _, layer in norm_layers(trial.network)), trial.network)
    moments: list[Tensor] = []

    def note(_: object, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        moments.append(torch.stack([x.mean((2, 3)), x.square().mean((2, 3))], 1))

    handle = first.register_forward_pre_hook(note)
    store = one.store if crop is None else one.crops[crop]
    parts = []
    for start in range(0, len(store.labels), CHUNK):
        pixels = torch.from_numpy(np.array(store.images[start : start + CHUNK]))
        parts.append(trial.logits(pixels.flip(1) if bgr else pixels).double())
    handle.remove()
    logits, labels = torch.cat(parts), torch.from_numpy(store.labels)
    both = torch.cat(moments).double().numpy()
    nll = F.cross_entropy(logits, labels, reduction="none").numpy()
    return Seen(nll, (logits.argmax(1) == labels).numpy(), both[:, 0], both[:, 1])


def kept(folder: Path, what: str, compute: Callable[[], Seen]) -> Seen:
    """What was seen before, from its file, else seen now."""
    path = folder / f"{re.sub(r'[^0-9A-Za-z]+', '_', what)}.npz"
    if path not in _READ:
        if not path.exists():
            np.savez(path, **asdict(compute()))
            print(what, flush=True)
        with np.load(path) as found:
            _READ[path] = Seen(**{name: found[name] for name in Seen.__annotations__})
    return _READ[path]


_READ: dict[Path, Seen] = {}


# -- What the checks would say ------------------------------------------------------------------------------


def distance(one: Case, seen: Seen, chosen: np.ndarray) -> float:
    """`lnbench.norm.distance` of the first norm layer, on some of the images."""
    assert one.stored is not None
    mean = seen.means[chosen].mean(0)
    var = np.maximum(seen.squares[chosen].mean(0) - mean**2, 1e-12)
    stored_mean, stored_var = (t.double().numpy() for t in one.stored)
    scale = np.sqrt(np.maximum(stored_var, 1e-12))
    return float((np.abs(mean - stored_mean) / scale + np.abs(np.log(np.sqrt(var) / scale))).mean())


def judged(
    given: Seen, asked: Mapping[checks.Other, Seen], order: np.ndarray, sure: float
) -> checks.Other | None:
    """The other preparation that the check by labels would name on images in this order, if any."""
    still = list(asked)
    for stop in checks.looks(min(checks.LOOKS[-1], len(order))):
        chosen = order[:stop]
        said = {other: other.judge(given.nll[chosen], asked[other].nll[chosen], sure=sure) for other in still}
        for other in still:
            if said[other] == "better":
                return other
        still = [other for other in still if said[other] == "open"]
    return None


def study(one: Case, draws: int, folder: Path) -> dict[str, Any]:
    right = one.right
    norms = {name: wrong or InputNormalization(right.mean, (1.0, 1.0, 1.0)) for name, wrong in WRONG.items()}

    def seen(normalization: InputNormalization, *, bgr: bool = False, crop: str | None = None) -> Seen:
        name = f"{one.name} {len(one.store.labels)} {normalization} {'bgr' if bgr else 'rgb'} {crop or ''}"
        return kept(folder, name, partial(look, one, normalization, bgr=bgr, crop=crop))

    random = np.random.default_rng(0)
    count = len(one.store.labels)
    orders = [random.permutation(count) for _ in range(draws)]
    base = float(seen(right).correct.mean())

    def first_layer(own: Seen, bgr: bool) -> float | None:
        """How often the first layer warns."""
        if one.stored is None:
            return None
        warned = 0
        for order in orders:
            chosen = order[: checks.SEEN]
            mine = distance(one, own, chosen)
            if mine >= checks.SUSPICIOUS:
                usual = (seen(other, bgr=bgr) for other in checks.USUAL.values())
                warned += min(distance(one, other, chosen) for other in usual) <= mine / 2
        return warned / draws

    def by_labels(own: Seen, given: InputNormalization, bgr: bool) -> dict[str, float]:
        """How often the labels name reversed channels, and how often another mean and std, by threshold."""
        asked = {
            other: seen(given, bgr=not bgr)
            if other.normalization is None
            else seen(other.normalization, bgr=bgr)
            for other in checks.others(given, first_layer=one.stored is not None)
        }
        found = {}
        for sure in SURE:
            said = [judged(own, asked, order, sure) for order in orders]
            named = [other for other in said if other is not None]
            found[f"channels > {sure:g}"] = sum(other.normalization is None for other in named) / draws
            found[f"mean/std > {sure:g}"] = sum(other.normalization is not None for other in named) / draws
        return found

    rows = []
    asked = [("none", right, False), ("channels in BGR order", right, True)]
    for mistake, given, bgr in asked + [(k, v, False) for k, v in norms.items() if v != right]:
        own = seen(given, bgr=bgr)
        first = first_layer(own, bgr)
        # Where the first layer always warns, the labels are never asked.
        labels = by_labels(own, given, bgr) if first != 1.0 else {}
        rows.append(row(mistake, own, base) | {"first layer warns": first} | labels)
    for name in one.crops:  # the labels are asked about channels, mean and std alone
        own = seen(right, crop=name)
        rows.append(row(name, own, base) | {"first layer warns": first_layer(own, False)})
    return {"network": one.name, "images": count, "draws": draws, "rows": rows}


def row(mistake: str, own: Seen, base: float) -> dict[str, Any]:
    accuracy = float(own.correct.mean())
    return {"mistake": mistake, "accuracy": accuracy, "lost": base - accuracy, "nll": float(own.nll.mean())}


# -- The tables ---------------------------------------------------------------------------------------------


def table(found: Sequence[dict[str, Any]]) -> str:
    """The study as a Markdown table."""
    lines = [
        "| network | images | mistake | top-1 | lost | first layer | labels: channels | labels: mean/std |",
        "|:--|--:|:--|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        for each in one["rows"]:
            first = each.get("first layer warns")
            shown = [percent(first)]
            for what in ("channels > 3", "mean/std > 3"):
                asked = each.get(what)
                shown.append(percent(None if asked is None else asked * (1 - (first or 0))))
            figures = " | ".join((f"{100 * each['accuracy']:.1f}", f"{100 * each['lost']:.1f}", *shown))
            lines.append(f"| {one['network']} | {one['images']} | {each['mistake']} | {figures} |")
    return "\n".join(lines) + "\n"


def thresholds(found: Sequence[dict[str, Any]]) -> str:
    """False alarms and misses of reversed channels under each threshold, as a Markdown table."""
    head = " | ".join(f"{sure:g}: false | {sure:g}: missed" for sure in SURE)
    lines = [f"| network | {head} |", "|:--|" + "--:|" * 2 * len(SURE)]
    for one in found:
        right, bgr = one["rows"][:2]
        cells = [
            text
            for sure in SURE
            for text in (percent(right[f"channels > {sure:g}"]), percent(1 - bgr[f"channels > {sure:g}"]))
        ]
        lines.append(f"| {one['network']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"


TABLES: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {"mistakes": table, "thresholds": thresholds}


def write(found: Sequence[dict[str, Any]]) -> None:
    """Keep the figures, and put the tables into docs/inputs.md, between their marks."""
    (OUT / "preprocessing.json").write_text(json.dumps(found, indent=1) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    for name, made in TABLES.items():
        text = re.sub(
            rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)",
            lambda marks, made=made: marks[1] + made(found) + marks[2],
            text,
            flags=re.DOTALL,
        )
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path)
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    with TemporaryDirectory() as scratch:
        keep = options.keep or Path(scratch) / "seen"
        keep.mkdir(parents=True, exist_ok=True)
        for one in cases(options.shared, Path(scratch) / "photographs", options.photographs, keep):
            found.append(study(one, options.draws, keep))
            print(table(found[-1:]), flush=True)
    write(found)


if __name__ == "__main__":
    main()
