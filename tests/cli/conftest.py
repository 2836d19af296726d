"""Running commands through their real entry, in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lnbench.cli import run as entry
from tests.networks import write_task


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
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            entry([str(word) for word in words])
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, *(_text(stream) for stream in (out, err)))

    return run


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name the tiny network, its weights and its images."""
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=60)
    return ["--model", model, "--weights", weights, "--data", data]


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
