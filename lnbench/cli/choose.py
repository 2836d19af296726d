"""`lnbench choose`: which mode suits a network, judged on a few clean images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnbench.cli import options
from lnbench.data.registry import usages
from lnbench.norm.modes import registry as modes

_DATA = f"Images: {usages(corrupted=False)}"  # the beginning of what evaluate says, here and below
_TUNE = "Preset whose corruptions are looked at too: imagenet-c-extra. None that results are reported on."
_NORM = "Normalization mode, repeatable or with commas"
_MOST = "Largest share of clean images, in percent, whose answer may change."
_OUTPUT = "Where the choice goes; evaluate takes it as --norm FILE."


def choose(
    model: options.Model[str],
    data: Annotated[str, typer.Option(help=_DATA)],
    weights: Annotated[Path | None, typer.Option(help="Checkpoint file")] = None,
    tune_on: Annotated[str | None, typer.Option(metavar="PRESET", help=_TUNE)] = None,
    severity: options.Severity = None,
    norm: Annotated[list[str] | None, typer.Option(help=_NORM)] = None,
    most: Annotated[float, typer.Option("--cost", min=0, max=100, help=_MOST)] = 5.0,
    samples: Annotated[int, typer.Option("-n", min=2, help="How many images")] = 32,
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT)] = Path("choice.json"),
    root: options.Root = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation[str | None] = None,
    exif: options.Exif = None,
    device: options.Device = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")] = None,
    seed: options.Seed[int] = 0,
    ema: options.Ema = False,
    allow_pickle: options.AllowPickle = False,
    skip_unreadable: options.SkipUnreadable = False,
) -> None:
    """Propose a mode from a few clean images, whose labels are not used, with its expected gain and cost.

    Without --norm it tries local to several depths, blend and adapt.
    """
    from lnbench import config as configs
    from lnbench.cli import console, values
    from lnbench.suite import BY_SIZE

    preset = configs.load_preset(tune_on or "imagenet-c-extra")
    given = {
        "model": model,
        "weights": None if weights is None else str(weights),
        "data": data,
        "root": root,
        "severities": severity or (3, 5),
        "table": BY_SIZE,
        "modes": values.modes(norm or [], modes.names()) or ["fixed"],
        "mean": values.channels("--mean", mean),
        "std": values.channels("--std", std),
        "resize": values.sides("--resize", resize),
        "crop": values.sides("--crop", crop),
        "interpolation": interpolation,
        "exif": exif,
        "precision": precision,
        "seed": seed,
        "ema": ema,
        "skip_unreadable": skip_unreadable,
    }
    config = configs.resolve(preset, given)
    if allow_pickle:
        console.warn("--allow-pickle runs whatever code the checkpoint file contains")

    from lnbench.dist import joined
    from lnbench.evaluate import choose as choosing
    from lnbench.memory import keep_freed
    from lnbench.progress import Watch
    from lnbench.results import choice as choices

    choosing.check_tuning(preset)
    choices.check_place(output)
    keep_freed()
    with joined() as processes, Watch() as watch:
        on_device = config.model_copy(update={"device": str(processes.device(device))})
        found = choosing.choose(
            on_device, samples, most / 100, tuned=tune_on is not None,
            asked=config.modes if norm else (), allow_pickle=allow_pickle,
            observer=choosing.Onlooker(
                watch.decoding, watch.counting, watch.progressed, watch.finished, watch.warn
            ),
        )  # fmt: skip
    choices.write(found, output)
    console.show_choice(found, output)
