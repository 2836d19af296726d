"""Which mode suits a network? Candidates side by side on a few clean images, without labels.

What the untouched network answers for a clean image stands for its label: a mode costs the clean images that
it answers otherwise, and gains the corrupted ones that it answers as if they were clean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lnbench import __version__
from lnbench.config import Preset, RunConfig, load_preset
from lnbench.data import loading, specs
from lnbench.data.store import Decoding, Store
from lnbench.errors import DataError, UsageError
from lnbench.evaluate import loop, prepare, preprocessing
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.stream import chunk_size
from lnbench.norm.modes.registry import Mode, parse
from lnbench.results.choice import Choice, Chosen, Figure, Seen, propose
from lnbench.results.scores import Z95, wilson
from lnbench.types import Condition

REPORTED = "imagenet-c"  # what figures are published on is not what anything is tuned on
_DEPTHS = (1, 2, 3, 5, 9)


@dataclass(frozen=True)
class Onlooker:
    """What the caller wants to hear."""

    decoding: Callable[[int, int], None] = lambda done, total: None
    started: Callable[[Sequence[Condition], int], None] = lambda conditions, images: None
    progress: Callable[[loop.Progress], None] = lambda progress: None
    finished: Callable[[Condition], None] = lambda condition: None
    warning: Callable[[str], None] = lambda text: None


def check_tuning(preset: Preset) -> None:
    """Raise UsageError for a preset with corruptions that results are reported on."""
    both = [name for name in preset.corruptions if name in load_preset(REPORTED).corruptions]
    if both:
        raise UsageError(
            f"--tune-on {preset.name}: results are reported on {', '.join(both[:3])}, so nothing is chosen "
            "by them; tune on imagenet-c-extra"
        )


def candidates(layers: int, images: int) -> tuple[str, ...]:
    """The modes that are tried where none are named, for a network with so many norm layers.

    `local` in the first layers, to several depths and in all; `blend` with three weights in the first nine
    (or half, where there are fewer) and in all; `adapt` in all.
    """
    depths = [depth for depth in _DEPTHS if depth < layers]
    middle = min(9, max(1, layers // 2))
    found = ["fixed", *(f"local:layers=first{depth}" for depth in depths), "local"]
    found += [f"blend:N={n}{end}" for n in (1, 4, 16) for end in (f",layers=first{middle}", "")]
    return (*found, f"adapt:n={min(32, images)}")


@torch.no_grad()
def choose(
    config: RunConfig,
    images: int,
    most: float,
    *,
    tuned: bool,
    asked: Sequence[str] = (),
    allow_pickle: bool = False,
    observer: Onlooker | None = None,
) -> Choice:
    """Try the modes and propose one.

    Args:
        config: network and data, with the preset to tune on; `modes` are set here.
        images: how many clean images to look at, drawn with the config's seed whatever their labels.
        most: the largest cost, as a share (0–1) of clean images whose answer may change.
        tuned: whether the config's corruptions are looked at; otherwise clean images alone.
        asked: candidates; those of `candidates` otherwise.

    Raises UsageError, ModelError, CheckpointError, DataError.
    """
    observer = observer or Onlooker()
    device = torch.device(config.device)
    subject = prepare.load_subject(config.model_copy(update={"modes": ("fixed",)}), device, allow_pickle)
    if not len(subject.layers):
        raise UsageError(
            f"{subject.name} has no norm layers with stored statistics: there is nothing to choose"
        )
    store = _opened(config, subject, images, observer)
    names = dict.fromkeys(("fixed", *(asked or candidates(len(subject.layers), len(store.labels)))))
    modes = tuple(parse(name) for name in names)
    subject = _ready(subject, store, modes)
    for warning in preprocessing.check_first_layer(subject, store):
        observer.warning(warning)
    store = _as_the_network_says(subject, store)
    conditions = subject.config.conditions if tuned else subject.config.conditions[:1]
    seen = Images(store, conditions, lambda _: store, False, subject.geometry)
    observer.started(conditions, len(store.labels))
    right: dict[str, list[np.ndarray]] = {str(mode): [] for mode in modes}
    seconds = dict.fromkeys(right, 0.0)
    for condition, results in loop.run([subject], seen, lambda *_: False, observer.progress):
        for result in results[0][1]:
            right[str(result.mode)].append(result.correct)
            seconds[str(result.mode)] += result.seconds
        observer.finished(condition)
    figures = tuple(_figure(mode, right, seconds) for mode in right)
    suite = subject.config
    return Choice(
        lnbench=__version__,
        model=config.model,
        weights=config.weights,
        seed=config.seed,
        most=most,
        figures=figures,
        chosen=Chosen(
            mode=propose(figures, most).mode,
            sha256=subject.sha256,
            seen=Seen(
                source=store.source,
                names=store.names,
                preset=suite.preset if tuned else None,
                corruptions=suite.corruptions if tuned else (),
                severities=suite.severities if tuned else (),
            ),
        ),
    )


def _opened(config: RunConfig, subject: Subject, images: int, observer: Onlooker) -> Store:
    """Some images of the data, all of one class: no label is looked at."""
    spec = specs.parse(config.data, config.root)
    if spec.precomputed:
        raise DataError(f"{spec} is a corrupted set: a mode is chosen on clean images")
    listing = specs.listing(spec)
    unlabelled = replace(listing, labels=np.zeros_like(listing.labels), classes=(), named=False)
    decoding = Decoding(
        subject.geometry, limit=images, seed=config.seed, skip_unreadable=config.skip_unreadable,
        upright=config.exif == "apply", on_progress=observer.decoding,
    )  # fmt: skip
    return loading.open_listing(unlabelled, decoding)


def _ready(subject: Subject, store: Store, modes: tuple[Mode, ...]) -> Subject:
    """The subject with its candidates, fit for these images. Raises UsageError, DataError, ModelError."""
    config = subject.config.model_copy(update={"modes": tuple(map(str, modes))})
    settled = replace(
        subject,
        config=prepare.settle(config, store),
        classes=subject.classifier.classes(*store.images.shape[2:]),
        modes=modes,
    )
    setting = settled.layers.setting(settled.config.batch_size, len(store.labels))
    for mode in modes:
        if mode.unit != "image" or mode.is_learning or mode.draws > 1:
            raise UsageError(
                f"mode '{mode}': choose compares modes in which an image's answer depends on itself alone, "
                "and adapt:n=…"
            )
        mode.refuse(setting)
    return settled


def _as_the_network_says(subject: Subject, store: Store) -> Store:
    """The store with what the untouched network answers for its clean images as labels."""
    size = chunk_size(subject.classifier.device, *store.images.shape[2:])
    answers = [
        subject.classifier.logits(torch.from_numpy(store.images[start : start + size])).argmax(-1).cpu()
        for start in range(0, len(store.labels), size)
    ]
    labels = torch.cat(answers).numpy()
    classes = tuple(map(str, range(subject.classes)))
    return replace(store, labels=labels, classes=classes, occurring=tuple(np.unique(labels).tolist()))


def _figure(mode: str, right: dict[str, list[np.ndarray]], seconds: dict[str, float]) -> Figure:
    """A mode's figures from the answers, bool (N,), for clean images and then each condition."""
    clean, *corrupted = right[mode]
    images = len(clean)
    low, high = wilson(float(clean.sum()), images)
    time = seconds[mode] / max(1e-9, seconds["fixed"])
    found = Figure(mode=mode, clean=float(clean.mean()), cost_half=(high - low) / 2, time=round(time, 2))
    if not corrupted:
        return found
    _, *untouched = right["fixed"]
    # Of each image first: its conditions are not independent of one another.
    gains = np.mean(corrupted, axis=0, dtype=float) - np.mean(untouched, axis=0, dtype=float)  # (N,)
    half = Z95 * float(gains.std(ddof=1)) / images**0.5 if images > 1 else 1.0
    share = float(np.mean(corrupted))
    return found.model_copy(update={"corrupted": share, "gain": float(gains.mean()), "gain_half": half})
