"""The command line: one file for each command, exit codes in one place.

0 done, 1 `compare` found a regression, 2 wrong usage, 3 the job could not be done, 130 interrupted
(143 and 129 by SIGTERM and SIGHUP).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import typer

from lnbench import limits
from lnbench.blame import described, own_line
from lnbench.cli.choose import choose
from lnbench.cli.compare import compare
from lnbench.cli.convert import convert
from lnbench.cli.corrupt_export import corrupt_export
from lnbench.cli.corrupt_preview import corrupt_preview
from lnbench.cli.evaluate import evaluate
from lnbench.cli.list import list_
from lnbench.cli.merge import merge
from lnbench.cli.report import report
from lnbench.cli.usage import told
from lnbench.errors import Left, LnbenchError
from lnbench.files import inert, one_line, reason
from lnbench.streams import Ended, failure

app = typer.Typer(
    name="lnbench",
    help="How much accuracy does an image classifier lose on degraded images, and how much of it comes "
    "back with other normalization statistics?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
LONGEST = 4000  # characters of a message

# What the same command goes on with, once interrupted.
RESUMED = ("evaluate", "corrupt-export")
# They load no torch.
LIGHT = ("merge", "compare", "report", "list")


def _guarded(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Turn what goes wrong into one line on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            limits.check(torch=name not in LIGHT)
            command(*args, **kwargs)
        except LnbenchError as error:
            raise _stop(str(error), error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            kept = "; what is finished is kept, the same command goes on" if name in RESUMED else ""
            code = interrupt.exit_code if isinstance(interrupt, Ended) else INTERRUPTED
            raise _stop(f"interrupted{kept}", code) from None
        except typer.Exit:
            raise
        except MemoryError:
            remedy = "" if name in LIGHT else "; try --limit, --cache DIR or a smaller --batch-size"
            raise _stop(f"out of memory{remedy}", 3) from None
        except Left:
            raise
        except (Exception, SystemExit) as error:
            if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
                text = "the device's memory is full; try a smaller --batch-size or --precision bf16"
                raise _stop(text, 3) from None
            if os.environ.get("LNBENCH_TRACEBACK"):
                raise
            if where := own_line(error):  # a plugin, a factory, a data set of the person's own
                raise _stop(f"{where} raised {described(error)}", 3) from None
            if isinstance(error, Exception) and (why := limits.refusal(error)) is not None:
                raise _stop(why, 3) from None
            text = f"internal error, {type(error).__name__}: {one_line(error)}"
            raise _stop(f"{text} (LNBENCH_TRACEBACK=1 shows where; please report it)", 3) from None
        if (lost := failure()) is not None:
            text = f"standard output was not taken: {reason(lost)}"
            if name != "compare":  # whose exit code is its verdict
                raise _stop(text, 3)
            _say(text)

    return run


def _stop(text: str, code: int) -> typer.Exit:
    _say(text)
    return typer.Exit(code)


def _say(text: str) -> None:
    # Plain, so that nothing can interpret it.
    print(f"lnbench: {inert(text, LONGEST)}", file=sys.stderr)  # noqa: T201


COMMANDS: dict[str, Callable[..., None]] = {
    "evaluate": evaluate,
    "choose": choose,
    "convert": convert,
    "corrupt-preview": corrupt_preview,
    "corrupt-export": corrupt_export,
    "merge": merge,
    "compare": compare,
    "report": report,
    "list": list_,
}
for _name, _command in COMMANDS.items():
    # A word too many is refused by `evaluate` itself, which knows what was meant.
    _settings = {"allow_extra_args": True} if _name == "evaluate" else None
    app.command(_name, context_settings=_settings)(_guarded(_name, _command))


def _version(value: bool) -> None:
    if value:
        from lnbench import __version__

        print(f"lnbench {__version__}")  # noqa: T201
        raise typer.Exit(0)


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


def run(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, `words` or the process's own, and leave with its exit code.

    What cannot be read as a command ends in one line.
    """
    words = sys.argv[1:] if words is None else words
    try:
        code = app(args=words, standalone_mode=False)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is shown, or is what it says
            print(getattr(error, "message", ""))  # noqa: T201
        elif (text := told(error, words, COMMANDS)) is not None:
            print(inert(text, LONGEST), file=sys.stderr)  # noqa: T201
        else:
            raise
        sys.exit(2)
    sys.exit(code)
