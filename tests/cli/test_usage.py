"""A command line that cannot be read ends in one line: the command, what, where, what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from benchmarks.fuzz_commands import needs_argument, options
from lnbench.cli import COMMANDS, app
from tests.cli.conftest import Lnbench


def line(lnbench: Lnbench, *words: str) -> str:
    """The one line of a refused command line."""
    ran = lnbench(*words)
    assert ran.code == 2 and not ran.out, ran
    assert ran.err.count("\n") == 1 and ran.err.endswith("\n") and ran.err.startswith("lnbench"), ran.err
    return ran.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command(
    lnbench: Lnbench, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # Made once, where the program makes it for each command line: a tenth of a second.
    monkeypatch.setattr("lnbench.cli.app", get_command(app))
    help_ = f"(see lnbench {command} --help)\n"
    for option in options(command):
        name = option.names[-1]
        if name.startswith("--"):
            told = line(lnbench, command, f"{name}z")
            assert (
                told.startswith(f"lnbench {command}: unknown option '{name}z': did you mean ")
                and name in told
            )
            assert told.endswith(help_), told
        if option.takes_value:
            assert line(lnbench, command, name) == f"lnbench {command}: {name} needs a value {help_}"
        else:
            assert line(lnbench, command, f"{name}=1") == f"lnbench {command}: {name} takes no value {help_}"
        if option.kind in ("int", "float"):
            kind = "a whole number" if option.kind == "int" else "a number"
            words = f"lnbench {command}: {name}: 'x:: y' is not {kind} {help_}"
            assert line(lnbench, command, name, "x::\ny") == words.replace("::", ": :")


@pytest.mark.parametrize("command", [name for name in COMMANDS if needs_argument(name)])
def test_what_is_missing(lnbench: Lnbench, command: str) -> None:
    told = line(lnbench, command)
    assert " is missing (see " in told and told.split(": ")[1].split()[0].strip("-").isalnum(), told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evalute"], "lnbench: unknown command 'evalute': did you mean evaluate? (see lnbench --help)"),
        (["list", "mode"], "lnbench list: WHAT: unknown value 'mode': did you mean modes or models? "),
        (["list", "modes", "more"], "lnbench list: unexpected 'more' "),
        (["evaluate", "--seeds", "0"], "lnbench evaluate: --seeds: '0' is less than 1 "),
        (["evaluate", "--seeds", "1001"], "lnbench evaluate: --seeds: '1001' is more than 1000 "),
        (["evaluate", "--limit", "9" * 5000], "lnbench evaluate: --limit: '999"),
        (["evaluate", "-Z"], "lnbench evaluate: unknown option '-Z' (see lnbench evaluate --help)"),
        (
            ["evaluate", "--mode", "local"],
            "lnbench evaluate: unknown option '--mode': did you mean --norm? (see",
        ),
        (["--versoin"], "lnbench: unknown option '--versoin': did you mean --version? (see lnbench --help)"),
        (["\x1b[31m"], "lnbench: unknown command '\\x1b[31m': known: choose, "),
    ],
)
def test_words(lnbench: Lnbench, words: list[str], said: str) -> None:
    assert line(lnbench, *words).startswith(said)


def test_the_program_says_the_same() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "lnbench", "evaluate", "--batch-size", "x"], capture_output=True, text=True
    )
    said = "lnbench evaluate: --batch-size: 'x' is not a whole number (see lnbench evaluate --help)\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", said)


def test_no_words_show_the_help_once(lnbench: Lnbench) -> None:
    ran = lnbench()
    assert ran.out.count("corrupt-preview") == 1 and not ran.err
