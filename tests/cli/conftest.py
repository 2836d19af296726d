"""Running commands through their real entry, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from lnbench.cli import app


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Lnbench = Callable[..., Ran]


@pytest.fixture
def lnbench(monkeypatch: pytest.MonkeyPatch) -> Lnbench:
    """Call a command; anything unexpected that it raises is raised here."""
    monkeypatch.setenv("LNBENCH_TRACEBACK", "1")
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object) -> Ran:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run
