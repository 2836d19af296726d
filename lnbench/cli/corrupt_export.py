"""`lnbench corrupt-export`: the corrupted set as files, for tools that read ImageNet-C or CIFAR-10-C."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lnbench.data.registry import usages


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
    preset: Annotated[str, typer.Option(help="Corruption suite: a name or a YAML file.")] = "imagenet-c",
    corruption: Annotated[
        list[str] | None, typer.Option(help="Corruption or group, repeatable; the preset's otherwise.")
    ] = None,
    severity: Annotated[list[float] | None, typer.Option(help="Severity 1–5, repeatable.")] = None,
    quality: Annotated[
        int | None, typer.Option(help="JPEG quality 1–95 of imagenet-c folders; lossless PNG otherwise.")
    ] = None,
    resize: Annotated[str | None, typer.Option(help="Shorter side, or HEIGHTxWIDTH, in pixels.")] = None,
    crop: Annotated[str | None, typer.Option(help="Centre crop, side or HEIGHTxWIDTH, in pixels.")] = None,
    interpolation: Annotated[
        str, typer.Option(help="nearest, bilinear, bicubic, lanczos or box.")
    ] = "bilinear",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    backend: Annotated[str, typer.Option(help="native, or reference (imagecorruptions).")] = "native",
    limit: Annotated[int | None, typer.Option(help="Use a class-balanced subset of N images.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of noise and subset.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
) -> None:
    """Write the corrupted images of a dataset for other tools."""
    from lnbench import config as configs
    from lnbench.cli import console
    from lnbench.cli.values import sides
    from lnbench.types import Geometry

    run = configs.resolve(
        configs.load_preset(preset),
        {
            "model": "none",
            "data": data,
            "corruptions": corruption or None,
            "severities": severity or None,
            "resize": sides("--resize", resize),
            "crop": sides("--crop", crop),
            "interpolation": interpolation,
            "device": device,
            "backend": backend,
            "limit": limit,
            "seed": seed,
            "skip_unreadable": skip_unreadable,
        },
    )
    geometry = Geometry(run.resize, run.crop, run.interpolation or "bilinear")
    with console.Watch() as watch:
        from lnbench.memory import keep_freed
        from lnbench.pictures.export import export

        keep_freed()
        written = export(
            run,
            out,
            layout=layout.value,
            geometry=geometry,
            quality=quality,
            decoding=watch.decoding,
            started=watch.counting,
            progress=watch.progressed,
            finished=watch.finished,
        )
    done = len(run.conditions) - written
    kept = f", {done} were there already" if done else ""
    console.stdout().print(f"{out}: {written} conditions written{kept}", markup=False)
