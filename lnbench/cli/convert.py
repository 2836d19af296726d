"""`lnbench convert`: one checkpoint into another with LocalNorm, BatchNorm or adapted statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnbench.cli import options
from lnbench.data.registry import usages

if TYPE_CHECKING:
    from rich.progress import Progress

    from lnbench.training.finetune import Standing

_TO = "localnorm (from BatchNorm), batchnorm (from LocalNorm), or adapted (BatchNorm, new statistics)."
_OUTPUT = "Where the result goes: .safetensors, .pth, …"
_GROUPS = "K, the number of groups of a training batch: 8; with --distill 1."
_FINETUNE = f"Train the result on these images: {usages(corrupted=False)}."
_DISTILL = "Let the original network teach the result on these images, clean; no labels are used."
_TRAIN = "What --distill trains: norm (weight and bias of the converted layers) or all."
_LAYERS = "Convert these layers only, or those within: bn1,layer1; or first3. All otherwise."
_GROUP_IMAGES = "Images in a group, taken in turn from step to step, such as 1,16; batch/groups otherwise."
_CALIBRATE = "Store the statistics of these images."


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The weights file to convert.", show_default=False)],
    model: options.Model[str],
    to: Annotated[str, typer.Option(help=_TO)],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT)],
    groups: Annotated[int | None, typer.Option(help=_GROUPS, show_default=False)] = None,
    layers: Annotated[str | None, typer.Option(help=_LAYERS, show_default=False)] = None,
    finetune: Annotated[str | None, typer.Option(help=_FINETUNE, show_default=False)] = None,
    distill: Annotated[str | None, typer.Option(metavar="DATA", help=_DISTILL, show_default=False)] = None,
    train: Annotated[str, typer.Option(help=_TRAIN)] = "norm",
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 10,
    lr: Annotated[float, typer.Option(help="Peak learning rate of the cosine schedule.")] = 0.02,
    batch_size: options.BatchSize[int] = 128,
    group_images: Annotated[str | None, typer.Option(help=_GROUP_IMAGES, show_default=False)] = None,
    calibrate: Annotated[str | None, typer.Option(help=_CALIBRATE, show_default=False)] = None,
    samples: Annotated[int, typer.Option("-n", help="How many images --calibrate takes.")] = 32,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    device: options.Device = "auto",
    seed: options.Seed[int] = 0,
    ema: options.Ema = False,
    prefix: options.Prefix = None,
    allow_pickle: options.AllowPickle = False,
) -> None:
    """Convert a checkpoint between BatchNorm and LocalNorm, check the result and say what changed.

    A killed fine-tuning goes on from its last finished epoch when the same command is given again.
    """
    from lnbench.cli import console, values

    means, deviations = values.channels("--mean", mean), values.channels("--std", std)
    images = values.whole_numbers("--group-images", group_images)
    resized, cropped = values.sides("--resize", resize), values.sides("--crop", crop)
    if allow_pickle:
        console.warn("--allow-pickle runs whatever code the checkpoint file contains")

    from lnbench.memory import keep_freed
    from lnbench.models.load import Preprocessing
    from lnbench.progress import progress
    from lnbench.training import convert as conversion
    from lnbench.training.recipe import Recipe
    from lnbench.training.request import Listener, Request

    keep_freed()
    request = Request(
        source=checkpoint,
        model=model,
        to=to,  # type: ignore[arg-type]  # checked there
        output=output,
        groups=groups if groups is not None else 1 if distill is not None else 8,
        layers=tuple(name.strip() for name in layers.split(",")) if layers is not None else (),
        train_on=finetune,
        distill=distill,
        trained=train,  # type: ignore[arg-type]  # checked there
        recipe=Recipe(epochs=epochs, lr=lr, batch_size=batch_size, group_images=images, seed=seed),
        calibrate=calibrate,
        samples=samples,
        preprocessing=Preprocessing(means, deviations, resized, cropped),
        seed=seed,
        device=device,
        ema=ema,
        prefix=prefix or "",
        allow_pickle=allow_pickle,
    )
    with progress() as bar:
        conversion.run(request, Listener(say=console.say, training=_shown(bar)))


def _shown(bar: Progress) -> Callable[[Standing], None]:
    """Show where a training stands on the bar, and each epoch's end in a line that stays."""
    from lnbench.cli import console

    task = bar.add_task("training", total=None, rate="", visible=False)

    def show(standing: Standing) -> None:
        bar.update(
            task,
            completed=standing.epoch * standing.steps + standing.step,
            total=standing.epochs * standing.steps,
            description=f"epoch {standing.epoch + 1}/{standing.epochs}",
            rate=f"loss {standing.loss:.3f}",
            visible=True,
        )
        if standing.held_out is not None:
            console.note(_epoch(standing, standing.held_out))

    return show


def _epoch(standing: Standing, held_out: dict[str, float]) -> str:
    accuracies = ", ".join(f"{mode} {value:.1%}" for mode, value in held_out.items())
    return f"epoch {standing.epoch + 1}/{standing.epochs}: loss {standing.loss:.3f}; held out: {accuracies}"
