"""What the shell offers after TAB."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from lnbench.cli import app

OFFERED = {
    "evaluate --preset imagenet-": {"imagenet-c", "imagenet-c-extra"},
    "evaluate --norm ba": {"batch"},
    "evaluate --norm fixed,ba": {"fixed,batch"},
    "evaluate --corruption fo": {"fog"},
    "evaluate --model demo:": {"demo:localnorm"},
    "evaluate --data np": {"npz:"},
    "rep": {"report"},
}


@pytest.mark.parametrize("typed", OFFERED)
def test_names_that_begin_so(typed: str) -> None:
    words = f"lnbench {typed}"
    environment = {
        "_LNBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    ran = CliRunner().invoke(app, [], prog_name="lnbench", env=environment)
    assert set(ran.stdout.split()) == OFFERED[typed]
