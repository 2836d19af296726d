"""From a config to what the engine counts with: networks in place, images decoded, everything checked.

A subject is one checkpoint: its classifier, its wrapped norm layers and the modes to run it in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lnbench.config import RunConfig
from lnbench.corruptions.registry import MIN_SIDE
from lnbench.data import class_file, labels, loading, specs
from lnbench.data.geometry import as_stored, untouched
from lnbench.data.labels import ClassMap
from lnbench.data.store import Decoding, Listing, Store
from lnbench.errors import DataError, ModelError
from lnbench.evaluate import answers
from lnbench.models.classifier import Classifier
from lnbench.models.load import Preprocessing, load, take
from lnbench.norm import convert, wrap
from lnbench.norm.modes.registry import Mode, parse
from lnbench.types import Condition, Geometry, InputNormalization


@dataclass(frozen=True)
class Subject:
    """One checkpoint, ready to be counted."""

    config: RunConfig
    classifier: Classifier
    layers: wrap.NormLayers
    modes: tuple[Mode, ...]
    geometry: Geometry
    normalization: InputNormalization
    source: str
    sha256: str | None
    code: str | None = None
    state: str | None = None
    names: tuple[tuple[str, ...], ...] = ()
    certain: bool = False  # the names are those of these very weights
    assumed: bool = False  # nobody said which mean and std it takes
    classes: int = 0  # outputs of the network, known once it has seen an image
    class_map: ClassMap | None = None  # known once labels and outputs have been matched
    columns: Tensor | None = (
        None  # the score that each label means, int64 (labels,), where not its own number
    )
    shifts: Mapping[str, ClassMap] = field(default_factory=dict)  # by the name of a condition of its own
    own_columns: Mapping[str, Tensor | None] = field(default_factory=dict)  # likewise, as `columns`
    notes: tuple[str, ...] = ()  # what its examination found
    compiled: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)  # by mode, where it pays

    def answer(self, condition: Condition) -> None:
        """From here on the classifier gives the scores that count under a condition."""
        found = self.shifts.get(condition.corruption, self.class_map)
        self.classifier.select = None if found is None else answers.selection(found, self.classifier.device)

    def columns_under(self, condition: Condition) -> Tensor | None:
        """The score that each label means under a condition, int64 (labels,), None where its own number."""
        return self.own_columns.get(condition.corruption, self.columns)

    @property
    def name(self) -> str:
        return self.config.model if self.config.weights is None else Path(self.config.weights).stem


@dataclass(frozen=True)
class Images:
    """The dataset under every condition: one store that is corrupted, or one store for each condition."""

    clean: Store
    conditions: tuple[Condition, ...]
    of: Callable[[Condition], Store]
    precomputed: bool
    geometry: Geometry  # what was done to each picture
    notes: tuple[str, ...] = ()  # what was done that a person may not expect
    shifts: Mapping[str, Store] = field(default_factory=dict)  # by the name of their condition
    opening: float = 0.0  # seconds that a condition's store takes, where each has its own
    sources: Mapping[tuple[str, int], Store] = field(default_factory=dict)  # by spec and number of images

    def count(self, condition: Condition) -> int:
        """How many images a condition has; of a stored one, as many as the first."""
        return len(self.shifts.get(condition.corruption, self.clean).labels)


@dataclass(frozen=True)
class Given:
    """What a caller brings instead of having it found by the config's words: a network, images."""

    network: nn.Module | None = None
    listing: Listing | None = None


def load_subject(
    config: RunConfig, device: torch.device, allow_pickle: bool = False, given: Given = Given()
) -> Subject:
    """Build the network, load its weights and wrap its norm layers.

    A LocalNorm checkpoint is recognised by the shapes of its weights and the network converted to fit. A
    network that is `given` is changed in place. Raises UsageError, CheckpointError or ModelError.
    """
    preprocessing = Preprocessing(config.mean, config.std, config.resize, config.crop, config.interpolation)
    loaded = (
        take(given.network, preprocessing)
        if given.network is not None
        else load(
            config.model,
            None if config.weights is None else Path(config.weights),
            preprocessing,
            ema=config.ema,
            prefix=config.prefix or "",
            allow_pickle=allow_pickle,
            before_fit=convert.convert_like,
        )
    )
    classifier = Classifier(loaded.network, loaded.normalization, device=device, precision=config.precision)
    modes = tuple(parse(text) for text in config.modes)
    layers = wrap.attach(classifier.network, own=any(mode.is_learning for mode in modes))
    return Subject(
        config, classifier, layers, modes, loaded.geometry, loaded.normalization, loaded.source,
        loaded.sha256, loaded.code, loaded.state, loaded.names, loaded.certain, loaded.assumed,
    )  # fmt: skip


def as_asked(decoding: Decoding, config: RunConfig) -> Decoding:
    """The same with what the config says of it: limit, seed, unreadable and turned images."""
    return replace(
        decoding,
        limit=config.limit,
        seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        upright=config.exif == "apply",
    )


def open_images(config: RunConfig, decoding: Decoding, given: Given = Given()) -> Images:
    """Decode every image once, or find the precomputed conditions. Raises DataError, UsageError.

    What the config says of decoding (limit, seed, unreadable images) is filled in here.
    """
    geometry = decoding.geometry
    decoding = as_asked(decoding, config)
    if given.listing is not None:
        brought = loading.open_listing(given.listing, decoding)
        return Images(brought, config.conditions, lambda _: brought, False, geometry, _noted(brought, config))
    spec, *_ = specs.parse_all([config.data, *config.shifts.values()], config.root)
    if not spec.precomputed:
        store = loading.open_store(spec, decoding)
        return Images(store, config.conditions, lambda _: store, False, geometry, _noted(store, config))
    held = specs.conditions(spec)
    wanted = [c for c in held if c in config.conditions] if config.corruptions else held
    if not wanted:
        raise DataError(f"{config.data} holds none of the conditions asked for")
    size = loading.size(specs.listing(spec, wanted[0]))
    stored = geometry if size is None else as_stored(size, geometry)
    # Conditions are opened while others are counted, so quietly.
    quiet = replace(decoding, on_progress=None, geometry=stored)

    def of(condition: Condition) -> Store:
        return loading.open_store(spec, quiet, condition)

    since = time.perf_counter()
    first = of(wanted[0])
    opening = time.perf_counter() - since
    notes = _noted(first, config)
    if size is not None and not untouched(size, stored):
        height, width = first.images.shape[2:]
        change = f"stored corrupted images of {size[0]}×{size[1]} px brought to {height}×{width} px"
        notes += (f"{change}: their corruptions are of another scale than the network sees",)
    return Images(first, tuple(wanted), of, True, stored, notes, opening=opening)


def _noted(store: Store, config: RunConfig) -> tuple[str, ...]:
    """What a person may not expect of how the images were read, one sentence each."""
    notes = []
    if store.turned:
        images = f"{store.turned} image{'s' if store.turned > 1 else ''}"
        if config.exif == "apply":
            notes.append(f"EXIF orientation applied to {images}; torchvision and timm ignore it")
        else:
            notes.append(f"EXIF orientation of {images} ignored, as torchvision and timm do")
    if store.left_out:
        count = sum(number for _, number in store.left_out)
        kinds = ", ".join(f"{number} {suffix or 'without suffix'}" for suffix, number in store.left_out[:5])
        more = ", …" if len(store.left_out) > 5 else ""
        notes.append(f"{count} file{'s' if count > 1 else ''} of other kinds left out ({kinds}{more})")
    return tuple(notes)


def settle(config: RunConfig, store: Store) -> RunConfig:
    """Fill in what only the images can decide: the table, and the largest batch there can be.

    Raises DataError, UsageError.
    """
    side = min(store.images.shape[2:])
    if side < MIN_SIDE:
        raise DataError(f"{config.data}: images are {side} px on a side; {MIN_SIDE} px is the least")
    return config.model_copy(
        update={"table": config.table_for(side), "batch_size": min(config.batch_size, len(store.labels))}
    )


def match(subject: Subject, store: Store) -> Subject:
    """Find which outputs answer for which label; from here on the classifier gives those alone.

    Raises DataError where labels and outputs cannot be matched.
    """
    found = class_map(subject, store)
    device = subject.classifier.device
    subject.classifier.select = answers.selection(found, device)
    return replace(subject, class_map=found, columns=answers.columns_of(found, device))


def class_map(subject: Subject, store: Store) -> ClassMap:
    """Which outputs answer for which label. Raises DataError where labels and outputs cannot be matched."""
    config = subject.config
    names, certain = subject.names, subject.certain
    if config.classes_file is not None:
        names, certain = class_file.read_classes(Path(config.classes_file)), True
        if len(names) != subject.classes:
            raise DataError(
                f"{config.classes_file}: {len(names)} class names, but {subject.name} has {subject.classes} "
                "outputs"
            )
    elif names and len(names) != subject.classes:
        raise ModelError(
            f"{subject.name} names {len(names)} classes, but has {subject.classes} outputs; correct the "
            "names, or give --classes-file"
        )
    written = None if config.class_map is None else class_file.read_class_map(Path(config.class_map))
    return labels.class_map(
        labels.Labels(store.classes, store.named, store.occurring, store.source),
        labels.Outputs(subject.classes, names, certain, subject.name),
        kept=config.classes,
        written=written,
    )


def check_fit(subject: Subject, store: Store, *, clean: bool = True) -> Iterator[str]:
    """Does the network fit the labels, and its modes the images? `clean`: are there some without corruption?

    Yields warnings. Raises DataError, ModelError, UsageError.
    """
    outputs = subject.classes
    highest = int(store.labels.max())
    if highest >= outputs:
        raise DataError(
            f"{store.source} has labels up to {highest}, {subject.name} has only {outputs} classes: "
            "another dataset's checkpoint?"
        )
    setting = subject.layers.setting(subject.config.batch_size, len(store.labels))._replace(clean=clean)
    for mode in subject.modes:
        mode.refuse(setting)
        if (note := mode.note(setting)) is not None:
            yield note
    found = subject.class_map
    if (
        found is not None
        and not store.named
        and len(found.columns) < outputs
        and subject.config.classes is None
    ):
        yield (
            f"{store.source}: {len(found.columns)} of {outputs} classes occur; the outputs of the others are "
            "left out before softmax (--classes all keeps them)"
        )
