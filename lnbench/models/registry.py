"""From a model specification to a network, its geometry and its input normalization."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import torch
from torch import nn

from lnbench.errors import CheckpointError, ModelError, UsageError, unknown
from lnbench.files import said
from lnbench.hub import hub_unless_unreachable, reachable
from lnbench.models import checkpoint, factory
from lnbench.models.catalog import ModelSpec, listing, parse
from lnbench.models.cifar import cifar_network
from lnbench.models.code import code_digest
from lnbench.models.declared import class_names, declared
from lnbench.types import Geometry, InputNormalization, Interpolation

__all__ = ["Built", "ModelSpec", "build", "listing", "packaged_weights", "parse"]


@dataclass(frozen=True)
class Built:
    """A network and how its makers feed it.

    `classes` is None where only running it can tell; `source` is one line: where the weights came from;
    `code` the digest of a person's own code, None for a library's; `names`: what each class is called, in the
    order of the outputs, where the makers of the published weights say; `assumed`: input is a guess.
    """

    network: nn.Module
    geometry: Geometry
    normalization: InputNormalization
    classes: int | None
    source: str
    code: str | None = None
    names: tuple[tuple[str, ...], ...] = ()
    assumed: bool = False


def build(spec: ModelSpec, *, classes: int | None, pretrained: bool) -> Built:
    """Build the network of a specification.

    `pretrained` loads the weights its makers published, from the local cache or the network; False leaves
    fresh ones for a checkpoint of the user's, whose number of classes `classes` sizes the head. For the demo
    the caller fits `packaged_weights`. Raises UsageError for unknown names, ModelError for networks that
    cannot be built, CheckpointError for weights that cannot be had.
    """
    return BUILDERS[spec.kind](spec, classes, pretrained)


def packaged_weights(spec: ModelSpec) -> Path | None:
    """The weights file that ships with lnbench for this network, to be fitted by the caller; else None."""
    if spec.kind != "demo":
        return None
    return Path(__file__).parent / "weights" / f"demo-{spec.name}.safetensors"


# -- ours ---------------------------------------------------------------------------------------------------


def build_cifar(spec: ModelSpec, classes: int | None, pretrained: bool) -> Built:
    """A CIFAR ResNet with fresh weights, for 32 px. Raises UsageError."""
    if pretrained:
        raise UsageError(f"--model {spec} has no published weights of its own: give --weights FILE")
    classes = classes or 10
    # The widely shared CIFAR-10 checkpoints of these networks were trained with ImageNet's mean and std.
    network = cifar_network(spec.name, classes)
    return Built(network, Geometry(resize=32, crop=32), InputNormalization(), classes, "fresh weights")


def build_demo(spec: ModelSpec, classes: int | None, pretrained: bool) -> Built:
    """The demo network with the weights and the normalization that ship with it."""
    from lnbench.models.demo import demo_network

    path = packaged_weights(spec)
    assert path is not None
    metadata = checkpoint.read(path).metadata
    own = json.loads(metadata["classes"])
    normalization = InputNormalization(
        tuple(json.loads(metadata["mean"])), tuple(json.loads(metadata["std"]))
    )
    count = classes or len(own)
    geometry = Geometry(resize=64, crop=64)
    names = tuple((name,) for name in own) if count == len(own) else ()
    return Built(demo_network(count), geometry, normalization, count, f"packaged {path.name}", names=names)


# -- a file of the user's -----------------------------------------------------------------------------------


def code_file(spec: ModelSpec) -> Path:
    """The file of a person's own factory. Raises ModelError."""
    return Path(spec.name) if spec.kind == "file" else factory.find_file(spec.name)


def build_file(spec: ModelSpec, classes: int | None, pretrained: bool) -> Built:
    """What a person's own factory returns, with what it says of its input. Raises ModelError."""
    path = code_file(spec)
    network, said = factory.call(path, str(spec.variant), classes, spec.given)
    code = code_digest(path)
    found = declared(network, said, str(spec))
    geometry, normalization = found or (Geometry(), InputNormalization())
    source = f"as {spec} built it"
    names = class_names(network, said, str(spec))
    return Built(network, geometry, normalization, None, source, code, names, assumed=found is None)


# -- torchvision --------------------------------------------------------------------------------------------


def build_torchvision(spec: ModelSpec, classes: int | None, pretrained: bool) -> Built:
    """A torchvision network with the preprocessing of its published weights. Raises UsageError."""
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if spec.name not in names:
        raise unknown("torchvision network", spec.name, names)
    published = {weights.name: weights for weights in torchvision.models.get_model_weights(spec.name)}
    variant = spec.variant or torchvision.models.get_model_weights(spec.name).DEFAULT.name
    if variant not in published:
        raise unknown(f"weights of {spec.name}", variant, published)
    weights = published[variant]
    if not weights.meta["categories"]:
        raise ModelError(f"{spec}: these weights are for features, they hold no classifier; choose others")
    own = len(weights.meta["categories"])
    if pretrained and classes not in (None, own):
        raise ModelError(f"{spec} has weights for {own} classes, not {classes}: give --weights FILE")
    options: dict[str, Any] = {"num_classes": classes or own}
    if spec.name in ("googlenet", "inception_v3"):
        # Their published weights carry the auxiliary heads and expect inputs scaled the TensorFlow way.
        options.update(init_weights=False, aux_logits=True, transform_input=pretrained)
    network = torchvision.models.get_model(spec.name, weights=None, **options)
    source = "fresh weights"
    if pretrained:
        path = fetch(weights.url, str(spec))
        checkpoint.fit(network, checkpoint.read(path))
        source = f"torchvision {spec.name} {variant} ({path.name})"
    steps = weights.transforms()
    geometry = Geometry(
        side(steps.resize_size), side(steps.crop_size), interpolation(steps.interpolation.value)
    )
    normalization = InputNormalization(tuple(steps.mean), tuple(steps.std))
    names = tuple((name,) for name in weights.meta["categories"]) if classes in (None, own) else ()
    return Built(network, geometry, normalization, classes or own, source, names=names)


def fetch(url: str, what: str) -> Path:
    """The file behind `url` in torch's own cache, downloaded when it is not there yet.

    Raises CheckpointError.
    """
    name = Path(urlsplit(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    digest = re.search(r"-([0-9a-f]{8,})\.", name)
    try:
        if not reachable(url):
            raise OSError(f"no connection to {urlsplit(url).hostname}")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest and digest[1], progress=sys.stderr.isatty())
    except Exception as error:
        raise not_to_be_had(what, path.parent, said(error)) from None
    return path


def not_to_be_had(what: str, cache: object, why: str) -> CheckpointError:
    """What to say of weights that are neither in a cache nor can be downloaded."""
    return CheckpointError(
        f"{what}: its weights are not in {cache} and cannot be downloaded ({why}): "
        "connect to the network once, or give --weights FILE"
    )


def side(size: Any) -> int | tuple[int, int]:
    """torchvision gives a side as [256] or 256, timm gives (height, width)."""
    if isinstance(size, int):
        return size
    values = [int(value) for value in size]
    return values[0] if len(set(values)) == 1 else (values[0], values[1])


def interpolation(name: str) -> Interpolation:
    """The name, if it is one that is known. Raises ModelError."""
    if name not in get_args(Interpolation):
        raise ModelError(
            f"the network asks for '{name}' interpolation, which is not known: give --interpolation"
        )
    return name  # type: ignore[return-value]


# -- timm ---------------------------------------------------------------------------------------------------


def build_timm(spec: ModelSpec, classes: int | None, pretrained: bool) -> Built:
    """A network of timm's or of the hub, with the preprocessing in its metadata. Raises LnbenchError."""
    timm = import_timm(spec)
    name = spec.name if spec.kind == "timm" else str(spec)
    if spec.kind == "timm":
        check_timm_name(timm, spec.name)
        if pretrained and not timm.is_model_pretrained(spec.name):
            raise CheckpointError(f"{spec} has no published weights of its own: give --weights FILE")
    with hub_unless_unreachable(pretrained or spec.kind == "hf-hub") as (cache, offline):
        try:
            options = {"num_classes": classes} if classes else {}
            network = timm.create_model(name, pretrained=pretrained, **options)
        except Exception as error:
            if offline or pretrained or isinstance(error, OSError):
                text = f"no connection to {offline}" if offline else said(error)
                raise not_to_be_had(str(spec), cache, text) from None
            raise ModelError(f"{spec} cannot be built: {said(error)}") from None
    geometry, normalization = timm_preprocessing(timm, network, spec)
    config = network.pretrained_cfg
    origin = config.get("hf_hub_id") or config.get("url") or config.get("file") or "its cache"
    source = f"timm {name} ({origin})" if pretrained else "fresh weights"
    classes = int(network.num_classes)
    return Built(network, geometry, normalization, classes, source, names=timm_names(timm, network, classes))


def timm_names(timm: Any, network: nn.Module, classes: int) -> tuple[tuple[str, ...], ...]:
    """What timm calls each class: the weights' own label names, or WordNet's for a subset of ImageNet.

    A class of WordNet goes by its wnid, its whole description ("tench, Tinca tinca") and each part of it.
    """
    config: Any = network.pretrained_cfg
    own = [str(name) for name in config.get("label_names") or ()]
    if len(own) == classes:
        described: Any = config.get("label_descriptions") or {}
        return tuple((name, *_parts(described.get(name))) for name in own)
    subset = timm.data.infer_imagenet_subset(network)
    info = timm.data.ImageNetInfo(subset) if subset else None
    if info is None or info.num_classes() != classes:
        return ()
    return tuple(
        (wnid, *_parts(info.label_name_to_description(wnid))) for wnid in map(str, info.label_names())
    )


def _parts(description: object) -> tuple[str, ...]:
    text = description if isinstance(description, str) else ""
    return tuple(dict.fromkeys((text, *text.split(", ")))) if text else ()


def import_timm(spec: ModelSpec) -> Any:
    """The module, which is an extra. Raises ModelError without it."""
    try:
        import timm
        import timm.data
    except ImportError:
        raise ModelError(f"--model {spec} needs timm: pip install 'lnbench[timm]'") from None
    return timm


def check_timm_name(timm: Any, name: str) -> None:
    """Raise UsageError for a network or weights that timm does not have."""
    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise unknown("timm network", base, timm.list_models())
    if base != name and name not in (tagged := timm.list_models(f"{base}.*", pretrained=True)):
        raise unknown(f"weights of timm's {base}", name, tagged)


def timm_preprocessing(timm: Any, network: nn.Module, spec: ModelSpec) -> tuple[Geometry, InputNormalization]:
    """Geometry and normalization from the weights' metadata, as timm's own validation script takes them.

    timm gives the crop and the part of the resized picture it keeps (crop_pct):
    resize = floor(crop / crop_pct), of the shorter side for `center`, of both sides for `squash`.
    Raises ModelError.
    """
    data = timm.data.resolve_data_config({}, model=network, use_test_size=True)
    channels, height, width = data["input_size"]
    if channels != 3 or len(data["mean"]) != 3 or len(data["std"]) != 3:
        raise ModelError(f"{spec} takes {channels} channels: only RGB networks can be evaluated")
    scaled = (math.floor(height / data["crop_pct"]), math.floor(width / data["crop_pct"]))
    if data["crop_mode"] == "border":
        raise ModelError(
            f"{spec} pads its pictures, which is not supported: build it in a FILE.py:FACTORY, "
            "with --resize and --crop of your choice"
        )
    # Unlike `center`, `squash` gives both sides, so that the aspect ratio is not kept.
    resize = scaled if data["crop_mode"] == "squash" or scaled[0] != scaled[1] else scaled[0]
    geometry = Geometry(resize, side((height, width)), interpolation(data["interpolation"]))
    return geometry, InputNormalization(tuple(data["mean"]), tuple(data["std"]))


BUILDERS: dict[str, Callable[[ModelSpec, int | None, bool], Built]] = {
    "torchvision": build_torchvision,
    "timm": build_timm,
    "hf-hub": build_timm,
    "cifar": build_cifar,
    "demo": build_demo,
    "file": build_file,
    "module": build_file,
}
