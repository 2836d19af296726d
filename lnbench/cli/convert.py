"""`lnbench convert`: one checkpoint into another with LocalNorm, BatchNorm or adapted statistics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnbench.data.registry import usages

if TYPE_CHECKING:
    from lnbench.training.finetune import Progress

_TO = "localnorm (from BatchNorm), batchnorm (from LocalNorm), or adapted (BatchNorm, new statistics)."
_FINETUNE = f"Train the result on these images: {usages(corrupted=False)}."
_LAYERS = "Convert these layers only, or those within: bn1,layer1. All otherwise."
_GROUP_IMAGES = "Images in a group, taken in turn from step to step, such as 1,16; batch/groups otherwise."


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The weights file to convert.", show_default=False)],
    model: Annotated[str, typer.Option(help="Its network: torchvision:resnet50, cifar:resnet20, …")],
    to: Annotated[str, typer.Option(help=_TO)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the result goes: .safetensors, .pth, …")
    ],
    groups: Annotated[int, typer.Option(help="K, the number of groups of a training batch.")] = 8,
    layers: Annotated[str | None, typer.Option(help=_LAYERS, show_default=False)] = None,
    finetune: Annotated[str | None, typer.Option(help=_FINETUNE, show_default=False)] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 10,
    lr: Annotated[float, typer.Option(help="Peak learning rate of the cosine schedule.")] = 0.02,
    batch_size: Annotated[int, typer.Option(help="Images of one step, over all processes.")] = 128,
    group_images: Annotated[str | None, typer.Option(help=_GROUP_IMAGES, show_default=False)] = None,
    calibrate: Annotated[
        str | None, typer.Option(help="Store the statistics of these images.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option("-n", help="How many images --calibrate takes.")] = 32,
    mean: Annotated[str | None, typer.Option(help="Input mean r,g,b; the model's own otherwise.")] = None,
    std: Annotated[str | None, typer.Option(help="Input standard deviation r,g,b.")] = None,
    resize: Annotated[str | None, typer.Option(help="Shorter side, or HEIGHTxWIDTH, in pixels.")] = None,
    crop: Annotated[str | None, typer.Option(help="Centre crop, side or HEIGHTxWIDTH, in pixels.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of order, crops and held-out images.")] = 0,
    ema: Annotated[bool, typer.Option("--ema", help="Use the checkpoint's averaged (EMA) weights.")] = False,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Run code in the checkpoint file. Only for files you trust."),
    ] = False,
) -> None:
    """Convert a checkpoint between BatchNorm and LocalNorm, check the result and say what changed.

    A killed fine-tuning goes on from its last finished epoch when the same command is given again.
    """
    from lnbench.cli import console
    from lnbench.cli.values import channels, sides
    from lnbench.errors import unknown

    targets = ("localnorm", "batchnorm", "adapted")
    if to not in targets:
        raise unknown("target of --to", to, targets)
    means, deviations = channels("--mean", mean), channels("--std", std)
    images = _numbers("--group-images", group_images)
    resized, cropped = sides("--resize", resize), sides("--crop", crop)
    if allow_pickle:
        console.warn("--allow-pickle runs whatever code the checkpoint file contains")

    from lnbench.memory import keep_freed
    from lnbench.training import convert as conversion
    from lnbench.training.finetune import Recipe

    keep_freed()
    request = conversion.Request(
        source=checkpoint,
        model=model,
        to=to,  # type: ignore[arg-type]
        output=output,
        groups=groups,
        layers=tuple(name.strip() for name in layers.split(",")) if layers is not None else (),
        train_on=finetune,
        recipe=Recipe(epochs=epochs, lr=lr, batch_size=batch_size, group_images=images, seed=seed),
        calibrate=calibrate,
        samples=samples,
        mean=means,
        std=deviations,
        resize=resized,
        crop=cropped,
        seed=seed,
        device=device,
        ema=ema,
        allow_pickle=allow_pickle,
    )
    out = console.stdout()
    with console.progress() as bar:
        task = bar.add_task("training", total=None, rate="", visible=False)

        def show(progress: Progress) -> None:
            done = progress.epoch * progress.steps + progress.step
            bar.update(
                task,
                completed=done,
                total=progress.epochs * progress.steps,
                description=f"epoch {progress.epoch + 1}/{progress.epochs}",
                rate=f"loss {progress.loss:.3f}",
                visible=True,
            )
            if progress.held_out is not None:
                console.note(_epoch(progress))

        observer = conversion.Observer(say=lambda line: out.print(line, markup=False), training=show)
        conversion.run(request, observer)


def _epoch(progress: Progress) -> str:
    accuracies = ", ".join(f"{mode} {value:.1%}" for mode, value in (progress.held_out or {}).items())
    return f"epoch {progress.epoch + 1}/{progress.epochs}: loss {progress.loss:.3f}; held out: {accuracies}"


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    from lnbench.errors import UsageError

    if text is None:
        return ()
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise UsageError(f"{option} takes whole numbers such as 1,16; got '{text}'")
    return tuple(int(part) for part in text.split(","))
