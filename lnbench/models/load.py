"""From a specification and a weights file to a network with its weights, and how to feed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lnbench.models import checkpoint as checkpoints
from lnbench.models import factory, registry
from lnbench.models.checkpoint import Checkpoint
from lnbench.models.declared import class_names, declared
from lnbench.types import Geometry, InputNormalization, Interpolation

Channels = tuple[float, float, float]
Sides = int | tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """What a person says of the input, over the model's own; None leaves that as it is.

    `resize` and `crop` are one statement: where one is given alone, the model's other one falls away.
    """

    mean: Channels | None = None
    std: Channels | None = None
    resize: Sides | None = None
    crop: Sides | None = None
    interpolation: Interpolation | None = None

    def normalization(self, own: InputNormalization) -> InputNormalization:
        return InputNormalization(self.mean or own.mean, self.std or own.std)

    def geometry(self, own: Geometry) -> Geometry:
        resize, crop = own.resize, own.crop
        if self.resize or self.crop:
            resize, crop = self.resize, self.crop
        return Geometry(resize, crop, self.interpolation or own.interpolation)


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, and how to feed it.

    `source` is one line: where the weights came from; `checkpoint` the file they were read from, None for
    those that the network's makers published; `code` the digest of a factory's code, None for a library's
    network; `state` the digest of the weights where they come from no file. `names`: what each class is
    called, in the order of the outputs, or none; `certain`: whether they are those of these weights, not of
    others that were published for the architecture. `assumed`: nobody said which mean and std it
    takes, and ImageNet's are used.
    """

    network: nn.Module
    normalization: InputNormalization
    geometry: Geometry
    source: str
    checkpoint: Checkpoint | None
    code: str | None = None
    state: str | None = None
    names: tuple[tuple[str, ...], ...] = ()
    certain: bool = True
    assumed: bool = False

    @property
    def sha256(self) -> str | None:
        return None if self.checkpoint is None else self.checkpoint.sha256


def take(network: nn.Module, preprocessing: Preprocessing = Preprocessing()) -> LoadedModel:
    """A network that somebody built, with its weights in it, known by their digest.

    Fed with ImageNet's mean and std, at the size the images have, unless the preprocessing or the network's
    own metadata (timm's `pretrained_cfg`) says other.
    """
    found = declared(network, None, type(network).__qualname__)
    names = class_names(network, None, type(network).__qualname__)
    geometry, normalization = found or (Geometry(), InputNormalization())
    return LoadedModel(
        network,
        preprocessing.normalization(normalization),
        preprocessing.geometry(geometry),
        f"{type(network).__module__}.{type(network).__qualname__} in memory",
        None,
        state=factory.state_digest(network),
        names=names,
        certain=bool(names),
        assumed=found is None and preprocessing.mean is None and preprocessing.std is None,
    )


def load(
    model: str,
    weights: Path | None = None,
    preprocessing: Preprocessing = Preprocessing(),
    *,
    ema: bool = False,
    prefix: str = "",
    allow_pickle: bool = False,
    before_fit: Callable[[nn.Module, Mapping[str, Tensor]], object] = lambda network, tensors: None,
) -> LoadedModel:
    """Build the network of a specification and give it the weights of a file, or its makers' without one.

    The head gets as many classes as the file has. `prefix`: see `checkpoint.read`.
    `before_fit` may change the network's layers in place to
    those of the file's tensors (a LocalNorm checkpoint), before the weights are fitted strictly.
    Raises UsageError, CheckpointError, ModelError.
    """
    spec = registry.parse(model)
    path = weights or registry.packaged_weights(spec)
    stored = None
    if path is None:
        built = registry.build(spec, classes=None, pretrained=True)
    else:
        if allow_pickle and spec.kind in ("file", "module"):
            factory.make_importable(registry.code_file(spec))  # what was pickled with it may need its classes
        stored = checkpoints.read(path, ema=ema, allow_pickle=allow_pickle, prefix=prefix)
        built = registry.build(spec, classes=None, pretrained=False)
        classes = checkpoints.classes_in(stored, built.network)
        if classes is not None and classes != built.classes:
            built = registry.build(spec, classes=classes, pretrained=False)
        before_fit(built.network, stored.tensors)
        checkpoints.fit(built.network, stored)
    return LoadedModel(
        built.network,
        preprocessing.normalization(built.normalization),
        preprocessing.geometry(built.geometry),
        built.source if path is None else path.name,
        stored,
        built.code,
        factory.state_digest(built.network) if path is None else None,
        built.names,
        weights is None or (built.code is not None and bool(built.names)),
        built.assumed and preprocessing.mean is None and preprocessing.std is None,
    )
