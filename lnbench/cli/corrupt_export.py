"""`lnbench corrupt-export`: the corrupted set as files, for tools that read ImageNet-C or CIFAR-10-C."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lnbench.cli import options
from lnbench.data.registry import usages
from lnbench.files import counted


class Layout(str, Enum):
    """How the files lie."""

    imagenet_c = "imagenet-c"
    cifar_c = "cifar-c"


def corrupt_export(
    data: Annotated[str, typer.Argument(help=f"Clean images: {usages(corrupted=False)}.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to; an unfinished export there goes on.")],
    layout: Annotated[
        Layout, typer.Option(help="<corruption>/<severity>/<class>/ folders, or <corruption>.npy arrays.")
    ],
    preset: options.Preset = "imagenet-c",
    corruption: options.Corruption = None,
    severity: options.Severity = None,
    quality: Annotated[
        int | None, typer.Option(help="JPEG quality 1–95 of imagenet-c folders; lossless PNG otherwise.")
    ] = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation[str] = "bilinear",
    device: options.Device = "auto",
    backend: options.Backend[str] = "native",
    root: options.Root = None,
    limit: options.Limit = None,
    seed: options.Seed[int] = 0,
    skip_unreadable: options.SkipUnreadable = False,
    plugin: options.Plugin = None,
) -> None:
    """Write the corrupted images of a dataset for other tools."""
    from lnbench import config as configs
    from lnbench.cli import console, plugins
    from lnbench.cli.values import sides
    from lnbench.progress import Watch

    plugins.run(plugin)
    suite = configs.resolve_suite(
        configs.load_preset(preset),
        {"corruptions": corruption or None, "severities": severity or None, "backend": backend},
    )
    selection = configs.select(
        data=data,
        root=root,
        limit=limit,
        seed=seed,
        resize=sides("--resize", resize),
        crop=sides("--crop", crop),
        interpolation=interpolation,
        skip_unreadable=skip_unreadable,
    )
    with Watch() as watch:
        from lnbench.dist import ALONE
        from lnbench.memory import keep_freed
        from lnbench.pictures.export import export

        keep_freed()
        written = export(
            suite,
            selection,
            out,
            layout=layout.value,
            quality=quality,
            device=ALONE.device(device),
            decoding=watch.decoding,
            started=watch.counting,
            progress=watch.progressed,
            finished=watch.finished,
        )
    done = len(suite.conditions) - written
    kept = f", {done} {'was' if done == 1 else 'were'} there already" if done else ""
    console.say(f"{out}: {counted(written, 'condition')} written{kept}")
