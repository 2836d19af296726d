"""`lnbench corrupt-preview`: what the corruptions look like, on a person's own picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_BACKENDS = ("native", "reference", "both")


def corrupt_preview(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures; a bundled photograph otherwise.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the sheet goes: .png, .jpg or .webp.")
    ] = Path("sheet.png"),
    preset: Annotated[str, typer.Option(help="Corruption suite: a name or a YAML file.")] = "imagenet-c",
    corruption: Annotated[
        list[str] | None, typer.Option(help="Corruption or family, repeatable; the preset's otherwise.")
    ] = None,
    severity: Annotated[list[float] | None, typer.Option(help="Severity 1–5, repeatable.")] = None,
    resize: Annotated[
        str | None, typer.Option(help="Shorter side, or HEIGHTxWIDTH; the table's size otherwise.")
    ] = None,
    histograms: Annotated[
        bool, typer.Option("--histograms", help="Draw the RGB histogram under each picture.")
    ] = False,
    backend: Annotated[
        str, typer.Option(help="native, reference (imagecorruptions), or both with their difference.")
    ] = "native",
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
) -> None:
    """Draw a contact sheet, corruptions × severities, of one or more pictures."""
    from lnbench import config as configs
    from lnbench.cli.console import stdout
    from lnbench.cli.values import sides
    from lnbench.errors import UsageError, unknown

    if output.suffix.lower() not in _FORMATS:
        raise UsageError(f"-o {output}: the sheet can be written as {', '.join(_FORMATS)}")
    if backend not in _BACKENDS:
        raise unknown("backend", backend, _BACKENDS)
    chosen = configs.resolve(
        configs.load_preset(preset),
        {
            "model": "none",
            "resize": sides("--resize", resize),
            "data": "none",
            "corruptions": corruption or None,
            "severities": severity or None,
            "backend": None if backend == "native" else "reference",
        },
    )
    from lnbench.pictures import sheet

    made = [
        sheet.of_picture(picture, chosen, seed=seed, backend=backend, histograms=histograms)
        for picture in sheet.load_pictures(images, chosen.resize, chosen.table)
    ]
    sheet.save(sheet.stack(made), output, _FORMATS[output.suffix.lower()])
    stdout().print(str(output), markup=False)
