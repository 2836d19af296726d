"""`lnbench corrupt-preview`: what the corruptions look like, on a person's own picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnbench.cli import options

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_BACKENDS = ("native", "reference", "both")
_SIZE = f"{options.SIDES} The table's size otherwise."
_BACKEND = f"{options.BACKEND} both: with their difference."


def corrupt_preview(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures; a bundled photograph otherwise.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the sheet goes: .png, .jpg or .webp.")
    ] = Path("sheet.png"),
    preset: options.Preset = "imagenet-c",
    corruption: options.Corruption = None,
    severity: options.Severity = None,
    resize: Annotated[str | None, typer.Option(help=_SIZE)] = None,
    histograms: Annotated[
        bool, typer.Option("--histograms", help="Draw the RGB histogram under each picture.")
    ] = False,
    backend: Annotated[str, typer.Option(help=_BACKEND)] = "native",
    seed: options.Seed[int] = 0,
    plugin: options.Plugin = None,
) -> None:
    """Draw a contact sheet, corruptions × severities, of one or more pictures."""
    from lnbench import config as configs
    from lnbench.cli import plugins
    from lnbench.cli.console import say
    from lnbench.cli.values import sides
    from lnbench.errors import UsageError, unknown

    if output.suffix.lower() not in _FORMATS:
        raise UsageError(f"-o {output}: the sheet can be written as {', '.join(_FORMATS)}")
    if backend not in _BACKENDS:
        raise unknown("backend", backend, _BACKENDS)
    plugins.run(plugin)
    suite = configs.resolve_suite(
        configs.load_preset(preset),
        {
            "corruptions": corruption or None,
            "severities": severity or None,
            "backend": None if backend == "native" else "reference",
        },
    )
    size = sides("--resize", resize)
    from lnbench.pictures import sheet

    made = [
        sheet.of_picture(picture, suite, seed=seed, backend=backend, histograms=histograms)
        for picture in sheet.load_pictures(images, size, suite.table)
    ]
    sheet.save(sheet.stack(made), output, _FORMATS[output.suffix.lower()])
    say(str(output))
