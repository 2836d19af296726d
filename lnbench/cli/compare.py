"""`lnbench compare`: is the new run worse than the base? The gate of a CI job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnbench.cli import options

if TYPE_CHECKING:
    from lnbench.results.compare import Comparison
    from lnbench.results.correct import Correct
    from lnbench.results.schema import Record


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="BASE and NEW: run folders, results.json or baseline files, or two folders of "
            "`evaluate --seeds`. More than two are ranked.",
            metavar="BASE NEW [MORE...]",
        ),
    ],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="RULE",
            help="Fail on a change beyond this: 'top1:-0.5pp' (any cell), 'mean_corruption_top1:-0.3pp', "
            "'mce:+1%', 'fixed/gaussian_noise/*: top1:-1pp'. Repeatable. Default: a significant loss of "
            "clean or mean corruption accuracy.",
        ),
    ] = None,
    significance: Annotated[
        float | None,
        typer.Option(
            "--significance",
            metavar="P",
            help="Fail only where a paired test, corrected for the number of figures, finds a loss at this "
            "level. 0.05 where no rule is given.",
        ),
    ] = None,
    power: Annotated[
        str | None,
        typer.Option(
            "--power",
            metavar="LOSS",
            help="How many images find a loss of this size, such as 0.5pp, 4 times in 5, for two runs that "
            "differ as these do; decides nothing.",
        ),
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Go through the images in the seed's order until it is certain that clean and mean accuracy "
            "are worse, or not worse by more than --margin; exit 1 on worse. No rule, no other test.",
        ),
    ] = False,
    margin: Annotated[
        str | None,
        typer.Option("--margin", metavar="LOSS", help=options.MARGIN),
    ] = None,
    allow_mismatch: Annotated[
        bool,
        typer.Option(
            "--allow-mismatch", help="Compare what pairs although data, suite, modes or seed differ."
        ),
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write every cell as Markdown.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML, a test case per cell.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the comparison as JSON.")
    ] = None,
    update_baseline: Annotated[
        Path | None,
        typer.Option(
            "--update-baseline",
            metavar="FILE",
            help="Write the last run as a baseline file; with a BASE, only when nothing regressed.",
        ),
    ] = None,
) -> None:
    """Compare a run with a baseline, image by image; exit 1 on a regression. Ranks more than two runs."""
    from lnbench.errors import RecordError, UsageError
    from lnbench.results.baseline import write_baseline
    from lnbench.results.correct import read_correct
    from lnbench.results.reading import read
    from lnbench.results.rules import parse, parse_loss
    from lnbench.results.seeds import compare_seeds, find_seeds

    if power is not None and (len(runs) != 2 or fail_if or junit or json or markdown or update_baseline):
        raise UsageError("--power takes a BASE and a NEW run; rules, files and baselines do not go with it")
    if margin is not None and not until_decided:
        raise UsageError("--margin is for --until-decided; a plain comparison has --fail-if")
    if until_decided and (
        len(runs) != 2 or fail_if or junit or json or markdown or update_baseline or power or significance
    ):
        raise UsageError("--until-decided takes a BASE and a NEW run, --margin and --allow-mismatch alone")
    wanted = None if power is None else parse_loss(power)
    rules = [parse(text) for text in fail_if or []]
    if len(runs) == 1 and update_baseline is None:
        raise UsageError("compare needs a BASE and a NEW run (or one run and --update-baseline FILE)")
    if len(runs) != 2 and (rules or significance is not None or junit or json):
        raise UsageError("--fail-if, --significance, --junit and --json need exactly a BASE and a NEW run")
    if len(runs) == 2 and all(several := [find_seeds(path) for path in runs]):
        if power is not None or update_baseline is not None or until_decided:
            raise UsageError(
                "--power, --until-decided and --update-baseline are for single runs, not for folders of seeds"
            )
        over = compare_seeds(*several, rules=rules, significance=significance, allow_mismatch=allow_mismatch)
        _publish(over, runs, markdown, junit, json)
        if not over.passed:
            raise typer.Exit(1)
        return
    records = [read(path, unfinished=not until_decided) for path in runs]
    if len(runs) == 2:
        from lnbench.results.compare import compare as compare_records

        old, new = (read_correct(path, record) for path, record in zip(runs, records, strict=True))
        if until_decided:
            _decide(records[0], records[1], old, new, margin, allow_mismatch)
            return
        found = compare_records(
            records[0],
            records[1],
            old,
            new,
            rules=rules,
            significance=significance,
            allow_mismatch=allow_mismatch,
        )
        if wanted is not None:
            _answer(found, wanted)
            return
        _publish(found, runs, markdown, junit, json)
        if found.failures:
            raise typer.Exit(1)
        if found.unfinished:
            raise RecordError(f"undecided, {' and '.join(found.unfinished)}: finish it for an answer")
    elif len(runs) > 2:
        _rank(records, runs, markdown)
    if update_baseline is not None:
        write_baseline(update_baseline, records[-1], read_correct(runs[-1], records[-1]))


def _decide(
    base: Record, new: Record, old: Correct | None, now: Correct | None, margin: str | None, mismatch: bool
) -> None:
    from lnbench.cli.console import stdout
    from lnbench.results import gate
    from lnbench.results.render import terminal
    from lnbench.results.rules import parse_loss

    loss = gate.MARGIN if margin is None else parse_loss(margin, "--margin")
    found = gate.judge(base, new, old, now, loss, allow_mismatch=mismatch)
    terminal.show_gate(found, stdout())
    if not found.passed:
        raise typer.Exit(1)


def _answer(found: Comparison, loss: float) -> None:
    from lnbench.cli.console import stdout
    from lnbench.results.render import terminal

    terminal.show_power(found, loss, stdout())


def _publish(
    found: Comparison, runs: list[Path], markdown: Path | None, junit: Path | None, json: Path | None
) -> None:
    """To the terminal, to the files asked for, and to GitHub where this runs there."""
    import os

    from lnbench.cli.console import stdout
    from lnbench.results.marks import write_output
    from lnbench.results.render import github, terminal
    from lnbench.results.render.markdown import comparison_to_markdown

    terminal.show_comparison(found, stdout())
    if markdown is not None:
        write_output(markdown, comparison_to_markdown(found).encode("utf-8", "backslashreplace"), runs)
    if junit is not None:
        from lnbench.results.render.junit import to_junit

        write_output(junit, to_junit(found).encode("utf-8", "backslashreplace"), runs)
    if json is not None:
        from lnbench.results.render.delimited import comparison_to_json

        write_output(json, comparison_to_json(found).encode("utf-8", "backslashreplace"), runs)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        github.append_summary(Path(summary), lambda cap: comparison_to_markdown(found, cap))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for command in github.commands(found):
            typer.echo(command)


def _rank(records: list[Record], runs: list[Path], markdown: Path | None) -> None:
    from lnbench.cli.console import stdout
    from lnbench.results.marks import write_output
    from lnbench.results.ranking import disagreements, distinct
    from lnbench.results.render import terminal
    from lnbench.results.render.markdown import ranking_to_markdown

    labels = distinct([str(path) for path in runs])
    console = stdout()
    terminal.show_ranking(records, console, labels)
    for text in disagreements(records, labels):
        terminal.say(f"not like for like: {text}", console)
    if markdown is not None:
        write_output(markdown, ranking_to_markdown(records, labels).encode("utf-8", "backslashreplace"), runs)
