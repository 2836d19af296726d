"""A checkpoint in, a checkpoint with other normalization out, checked and with its origin on record."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lnbench import __version__, dist
from lnbench.data import batches
from lnbench.errors import CheckpointError, LnbenchError, ModelError, UsageError
from lnbench.files import counted
from lnbench.models import checkpoint as checkpoints
from lnbench.models.checkpoint import Checkpoint
from lnbench.models.classifier import Classifier
from lnbench.models.load import LoadedModel, load
from lnbench.norm import convert, wrap
from lnbench.norm.layer import norm_layers
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.registry import make
from lnbench.norm.state import State
from lnbench.training import distill, finetune
from lnbench.training.images import held_out, open_images
from lnbench.training.request import Listener, Request, check
from lnbench.types import Geometry

# Rounding through some tens of float32 layers; a wrong group or a lost activation differs by 0.1 and more.
_TOLERANCE = 1e-2
_HELD_OUT = 0.1  # of the images given for fine-tuning, at most:
_MOST_HELD_OUT = 5000
# Extras that describe the optimizer's view of the old parameters, or older copies of them.
_TIED_TO_WEIGHTS = ("optim", "ema", "swa", "scaler", "average")


def run(request: Request, listener: Listener | None = None) -> None:
    """Convert, check, fine-tune or calibrate as asked, and write.

    Under torchrun every process trains and the first one speaks and writes.

    Raises LnbenchError (see errors.py) before anything is written; the source is never touched.
    """
    check(request)
    with dist.joined() as processes:
        device = processes.device(request.device)
        heard = listener if listener and processes.first else Listener()
        on_device = replace(request, device=str(device))
        processes.barrier(lambda: _run(on_device, processes, heard))


def _run(request: Request, processes: dist.Processes, listener: Listener) -> None:
    loaded, saved = _load(request)
    network = copy.deepcopy(loaded.network)
    if request.to == "localnorm":
        network = _to_localnorm(request, loaded, network, listener.say)
    elif request.to == "batchnorm":
        network = _to_batchnorm(network, listener.say)
    metadata = _origin(request, loaded, saved)
    if request.train_on is not None:
        metadata |= _finetune(request, processes, loaded, network, listener)
    if request.distill is not None:
        metadata |= _distill(request, processes, loaded, network, listener)
    if request.calibrate is not None:
        metadata |= _calibrate(request, loaded, network, listener)
    if processes.first:
        _write(request, saved, network, metadata, listener.say)


def _load(request: Request) -> tuple[LoadedModel, Checkpoint]:
    def understood(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        groups = convert.is_localnorm(tensors)
        if groups is not None and request.to == "localnorm":
            raise CheckpointError(
                f"{request.source} is LocalNorm already, with {groups} groups: nothing to convert"
            )
        if groups is not None and request.to == "adapted":
            raise CheckpointError(
                f"{request.source} is LocalNorm, without statistics to adapt: "
                "use --to batchnorm --calibrate DATA"
            )
        if groups is None and request.to == "batchnorm":
            raise CheckpointError(f"{request.source} has no LocalNorm layers: it is BatchNorm already")
        if groups is None and not any(True for _ in norm_layers(network)):
            raise ModelError(f"{request.model} has no BatchNorm layers: there is nothing to convert")
        convert.convert_like(network, tensors)

    loaded = load(
        request.model, request.source, request.preprocessing,
        ema=request.ema, prefix=request.prefix, allow_pickle=request.allow_pickle, before_fit=understood,
    )  # fmt: skip
    assert loaded.checkpoint is not None  # read from `source`
    loaded.network.eval()
    return loaded, loaded.checkpoint


def _to_localnorm(
    request: Request, loaded: LoadedModel, network: nn.Module, say: Callable[[str], None]
) -> nn.Module:
    groups = request.groups
    network = convert.convert_localnorm(network, groups=groups, layers=request.layers)
    kept = convert.kept_layers(network)
    layers = sum(isinstance(layer, LocalNorm2d) for layer in network.modules())
    became = f"{counted(layers, 'BatchNorm layer')} became LocalNorm with {counted(groups, 'group')}"
    say(f"{became}: weights and biases ({groups}, C)")
    if kept:
        others = "1 other stays as it is" if len(kept) == 1 else f"{len(kept)} others stay as they are"
        say(f"{others}: {', '.join(kept[:3])}{', …' if len(kept) > 3 else ''}")
    difference = _ghost_difference(loaded, network, groups)
    _passed(difference <= _TOLERANCE, f"groups of one batch equal ghost batches, to {difference:.1e}", say)
    restored = convert.to_batchnorm(copy.deepcopy(network)).state_dict()
    original = loaded.network.state_dict()
    same = restored.keys() == original.keys() and all(
        torch.equal(restored[name], value) for name, value in original.items()
    )
    _passed(same, "batchnorm → localnorm → batchnorm is the identity, bit for bit", say)
    return network


def _to_batchnorm(network: nn.Module, say: Callable[[str], None]) -> nn.Module:
    local = [layer for layer in network.modules() if isinstance(layer, LocalNorm2d)]
    weights = [layer.weight.detach() for layer in local]
    spread = max(float((weight - weight.mean(0)).abs().max()) for weight in weights)
    groups = local[0].groups
    network = convert.to_batchnorm(network)
    became = f"{counted(len(local), 'LocalNorm layer')} became BatchNorm"
    say(f"{became}: {groups} weights and biases averaged into one")
    say(f"the weights of a group differed from their mean by up to {spread:.2g}")
    again = convert.to_batchnorm(convert.convert_localnorm(copy.deepcopy(network), groups=groups))
    wanted = network.state_dict()
    same = all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())
    _passed(same, "batchnorm → localnorm → batchnorm is the identity, bit for bit", say)
    return network


def _ghost_difference(loaded: LoadedModel, network: nn.Module, groups: int) -> float:
    """Largest difference of logits, relative to their size, on noise images: two for each group."""
    draws = torch.Generator().manual_seed(0)
    for side in (64, _side(loaded.geometry)):
        inputs = torch.randn(2 * groups, 3, side, side, generator=draws)
        try:
            size = _batch_logits(loaded.network, inputs[::groups])
            return convert.verify_conversion(loaded.network, network, inputs) / max(1.0, size)
        except (RuntimeError, ValueError):
            # Some networks take their own size only.
            continue
    raise ModelError(f"the network takes neither 64 px images nor its own {_side(loaded.geometry)} px")


def _batch_logits(network: nn.Module, inputs: Tensor) -> float:
    """The largest logit in mode `batch`, against which a difference is large or small."""
    layers = wrap.attach(network)
    layers.use(make("batch"))
    try:
        with torch.inference_mode():
            return float(network(inputs).abs().max())
    finally:
        layers.detach()


def _side(geometry: Geometry) -> int:
    side = geometry.crop or geometry.resize or 224
    return side if isinstance(side, int) else min(side)


def _passed(passed: bool, what: str, say: Callable[[str], None]) -> None:
    if not passed:
        raise LnbenchError(f"the conversion failed its own check ({what}): nothing was written")
    say(f"checked: {what}")


def _finetune(
    request: Request,
    processes: dist.Processes,
    loaded: LoadedModel,
    network: nn.Module,
    listener: Listener,
) -> dict[str, str]:
    store = open_images(str(request.train_on), loaded.geometry, network, listener.decoding)
    held = held_out(store, request.seed)
    trained = np.setdiff1d(np.arange(len(store.labels)), held)
    kept_out = store.images[held], store.labels[held]
    before = finetune.measure(network, *kept_out, loaded.normalization, request.device)
    recipe = replace(request.recipe, seed=request.seed)
    history = finetune.train(
        network,
        store.images[trained],
        store.labels[trained],
        recipe,
        normalization=loaded.normalization,
        held_out=kept_out,
        device=request.device,
        state=training_state(request.output),
        origin=" ".join((request.to, *request.layers, str(loaded.sha256), store.fingerprint)),
        report=listener.training,
        processes=processes,
    )
    listener.say(
        f"fine-tuned for {counted(recipe.epochs, 'epoch')} on {counted(len(trained), 'image')} of "
        f"{store.source}"
    )
    after = history[-1].held_out or {}
    for mode, accuracy in after.items():
        listener.say(f"held out ({len(held)} images), {mode}: {before[mode]:.1%} → {accuracy:.1%}")
    return {
        "finetune_data": f"{store.source} sha256:{store.fingerprint}",
        "finetune_recipe": json.dumps(asdict(recipe)),
        "finetune_images": str(len(trained)),
        "held_out": json.dumps({mode: round(value, 4) for mode, value in after.items()}),
    }


def _distill(
    request: Request,
    processes: dist.Processes,
    loaded: LoadedModel,
    network: nn.Module,
    listener: Listener,
) -> dict[str, str]:
    store = open_images(str(request.distill), loaded.geometry, network, listener.decoding, labelled=False)
    held = held_out(store, request.seed, labelled=False)
    taught = np.setdiff1d(np.arange(len(store.labels)), held)
    recipe = replace(request.recipe, seed=request.seed)
    before, history = distill.train(
        network,
        loaded.network,
        store.images[taught],
        store.images[held],
        recipe,
        trained=request.trained,
        normalization=loaded.normalization,
        device=request.device,
        state=training_state(request.output),
        origin=" ".join(("distill", request.trained, *request.layers, str(loaded.sha256), store.fingerprint)),
        report=listener.training,
        processes=processes,
    )
    listener.say(
        f"distilled for {counted(recipe.epochs, 'epoch')} on {counted(len(taught), 'image')} of "
        f"{store.source}, without labels: "
        f"{'weights and biases of the LocalNorm layers' if request.trained == 'norm' else 'every parameter'}"
    )
    after = history[-1].held_out or {}
    for mode, agreement in after.items():
        listener.say(
            f"held out ({len(held)} images), {mode} agrees with the original: "
            f"{before[mode]:.1%} → {agreement:.1%}"
        )
    return {
        "distill_data": f"{store.source} sha256:{store.fingerprint}",
        "distill_recipe": json.dumps(asdict(recipe)),
        "distill_images": str(len(taught)),
        "distill_trained": request.trained,
        "agreement": json.dumps({mode: round(value, 4) for mode, value in after.items()}),
    }


def training_state(output: Path) -> Path:
    """Where a fine-tuning keeps its last finished epoch until the output is written."""
    return output.with_name(f"{output.name}.training.pth")


def _calibrate(
    request: Request, loaded: LoadedModel, network: nn.Module, listener: Listener
) -> dict[str, str]:
    """Replace the stored statistics by those of n images, and check that `fixed` now is what `adapt` was."""
    store = open_images(str(request.calibrate), loaded.geometry, network, listener.decoding, labelled=False)
    if request.samples > len(store.labels):
        raise UsageError(f"-n {request.samples}: {store.source} has only {len(store.labels)} images")
    chosen = batches.shuffled(len(store.labels), request.seed)[: request.samples]
    classifier = Classifier(network, loaded.normalization, device=request.device)
    pixels = torch.from_numpy(store.images[chosen])
    layers = wrap.attach(network)
    mode, state = make("adapt", n=request.samples), State()
    layers.use(mode, state)
    with torch.inference_mode():
        mode.begin(classifier.logits, lambda *_: pixels, state)
        wanted = classifier.logits(pixels)
    originals = {layer.name: layer.layer for layer in layers.layers}
    layers.detach()
    for name, (mean, var) in state.statistics.items():
        originals[name].get_buffer("running_mean").copy_(mean)
        originals[name].get_buffer("running_var").copy_(var)
    with torch.inference_mode():
        difference = float((classifier.logits(pixels) - wanted).abs().max()) / max(
            1.0, float(wanted.abs().max())
        )
    changed = len(state.statistics)
    listener.say(
        f"{counted(changed, 'layer')} now {'has' if changed == 1 else 'have'} the statistics of "
        f"{counted(request.samples, 'image')} of {store.source}"
    )
    _passed(difference <= _TOLERANCE, f"`fixed` now equals `adapt` before, to {difference:.1e}", listener.say)
    return {
        "calibrate_data": f"{store.source} sha256:{store.fingerprint}",
        "calibrate_images": str(request.samples),
    }


def _origin(request: Request, loaded: LoadedModel, saved: Checkpoint) -> dict[str, str]:
    metadata = {
        "lnbench": __version__,
        "converted_to": request.to,
        "origin": saved.path.name,
        "origin_sha256": saved.sha256,
        "model": request.model,
        "mean": json.dumps(loaded.normalization.mean),
        "std": json.dumps(loaded.normalization.std),
        "seed": str(request.seed),
    }
    if request.to == "localnorm":
        metadata["groups"] = str(request.groups)
        metadata |= {"layers": ",".join(request.layers)} if request.layers else {}
    return {**saved.metadata, **metadata}


def _write(
    request: Request,
    saved: Checkpoint,
    network: nn.Module,
    metadata: dict[str, str],
    say: Callable[[str], None],
) -> None:
    extras = saved.extras
    trained = request.train_on is not None or request.distill is not None
    stale = [name for name in extras if any(part in name.lower() for part in _TIED_TO_WEIGHTS)]
    if request.to == "adapted" and not trained:
        stale = []  # the parameters are the same, so an optimizer still fits them
    kept = {name: value for name, value in extras.items() if name not in stale}
    checkpoints.write(
        request.output,
        network.state_dict(),
        extras=kept,
        metadata=metadata,
        container=saved.container if request.output.suffix != ".safetensors" else "",
    )
    training_state(request.output).unlink(missing_ok=True)
    written = checkpoints.read(request.output)
    lost = [name for name in kept if name not in written.extras]
    if kept and len(lost) < len(kept):
        say(f"kept beside the weights: {', '.join(name for name in kept if name not in lost)}")
    if stale:
        say(f"removed, as they belong to the old weights: {', '.join(stale)}")
    if lost:
        say(f"removed, as {request.output.suffix} cannot hold them: {', '.join(lost)}")
    say(f"wrote {request.output} (sha256 {written.sha256[:12]}…)")
