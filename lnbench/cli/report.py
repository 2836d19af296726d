"""`lnbench report`: a run's record as a page, a table for a paper, or rows for a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_ALL = "Terminal, txt, md and tex; html, csv and json hold them all."


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, folders of them, results.json or baseline files.", metavar="RUN [RUN...]"
        ),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write this file; its suffix says what: .html .md .tex .csv .json .txt. Repeatable.",
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="Print as html, md, tex, csv, json or txt."),
    ] = None,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help=f"What tables show: top5, nll, ece, … {_ALL}")
    ] = "top1",
    severities: Annotated[
        bool, typer.Option("--severities", help=f"A row for each severity. {_ALL}")
    ] = False,
) -> None:
    """Show a run's tables, or write them as HTML, Markdown, LaTeX, CSV or JSON; several runs side by side."""
    from lnbench.cli.console import note, stdout
    from lnbench.results import publish
    from lnbench.results.pivot import View

    loaded = publish.load(runs, View(metric, severities))
    for path in loaded.left_out:
        note(f"left out: {path} is not finished")
    for file in output or []:
        publish.renderer(file.suffix.lstrip("."), str(file))
    if format_ is not None:
        typer.echo(publish.renderer(format_, "--format")(loaded), nl=False)
    for file in output or []:
        publish.write(loaded, file, runs)
        note(f"wrote {file}")
    if not output and format_ is None:
        from lnbench.results.render import terminal

        terminal.show(loaded.records, stdout(), loaded.labels, loaded.view)
        terminal.show_sweeps(loaded.records, stdout(), loaded.labels)
