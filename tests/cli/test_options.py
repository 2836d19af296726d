"""Options: one text for one name, and values of several words."""

from __future__ import annotations

from collections import defaultdict

import pytest
import typer

from lnbench.cli import app
from lnbench.cli.values import modes, whole_numbers
from lnbench.errors import UsageError
from tests.cli.conftest import Lnbench

OWN = {"--output", "--help"}  # what is written, and in which formats, is each command's own


def test_an_option_of_several_commands_has_one_text() -> None:
    """Or that text and what is particular to the command after it."""
    texts: dict[str, set[str]] = defaultdict(set)
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            if option.param_type_name == "option" and option.opts[0] not in OWN:
                texts[option.opts[0]].add(option.help)
    assert len(texts) > 30
    for name, found in texts.items():
        shortest = min(found, key=len)
        assert all(text.startswith(shortest) for text in found), (name, found)


KNOWN = ("fixed", "batch", "local", "blend", "adapt")
MODES = {
    "fixed": ["fixed"],
    "fixed,batch": ["fixed", "batch"],
    "blend:N=16,scope=batch": ["blend:N=16,scope=batch"],
    "blend:N=16,scope=batch,local:vote=mean,fixed": ["blend:N=16,scope=batch", "local:vote=mean", "fixed"],
    "fixed, adapt:n=8": ["fixed", " adapt:n=8"],
    "fixed,btach": ["fixed", "btach"],
    "blend:N=16,typo=3": ["blend:N=16,typo=3"],
}


@pytest.mark.parametrize("text", MODES)
def test_modes_may_be_given_with_commas(text: str) -> None:
    assert modes([text], KNOWN) == MODES[text]
    assert modes(["local", text], KNOWN) == ["local", *MODES[text]]


def test_a_run_of_modes_with_commas(lnbench: Lnbench) -> None:
    ran = lnbench(
        *("evaluate", "--model", "demo", "--data", "demo", "--limit", 20, "--corruption", "clean"),
        *("--norm", "fixed,blend:N=4,scope=batch,local", "--dry-run"),
    )
    assert ran.code == 0, ran.err
    assert "1 condition, 3 cells, 20 images" in ran.out


WRONG = {
    ("--norm", "fixed", "batch"): "unexpected 'batch'; repeat an option: --norm fixed --norm batch",
    ("--norm", "fixed,btach"): "did you mean batch",
    ("--norm", "blend:N=16,scop=batch"): "did you mean scope",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_modes_that_cannot_be_read(lnbench: Lnbench, words: tuple[str, ...]) -> None:
    ran = lnbench("evaluate", "--model", "demo", "--data", "demo", "--dry-run", *words)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert WRONG[words] in ran.err


def test_whole_numbers() -> None:
    assert whole_numbers("--group-images", None) == ()
    assert whole_numbers("--group-images", "1,16") == (1, 16)
    for text in ("", "1,", "0", "1,x", "-1"):
        with pytest.raises(UsageError, match="whole numbers such as 1,16"):
            whole_numbers("--group-images", text)
