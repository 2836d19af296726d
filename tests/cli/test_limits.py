"""What the system refuses (`ulimit`), and names that are no UTF-8: one line, or a result."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lnbench import limits
from lnbench.errors import LnbenchError
from tests.cli.conftest import Lnbench
from tests.networks import write_task

resource = pytest.importorskip("resource")

LIMITS = {
    "addresses, light": ("RLIMIT_AS", 100 << 20, ["list", "modes"], "raise `ulimit -v`"),
    "addresses, torch": ("RLIMIT_AS", 1 << 30, ["evaluate", "--model", "demo"], "raise `ulimit -v`"),
    "files": ("RLIMIT_NOFILE", 8, ["report", "none"], "raise `ulimit -n`"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count otherwise")
@pytest.mark.parametrize("case", LIMITS)
def test_a_low_limit_is_one_line(case: str) -> None:
    name, value, words, remedy = LIMITS[case]
    ran = subprocess.run(
        [sys.executable, "-m", "lnbench", *words],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(getattr(resource, name), (value, value)),
    )
    assert ran.returncode == 3 and ran.stdout == ""
    assert ran.stderr.startswith("lnbench: ") and ran.stderr.endswith(f"{remedy}\n")
    assert ran.stderr.count("\n") == 1


def test_no_more_threads_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(thread: threading.Thread) -> None:
        started.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(
        resource,
        "getrlimit",
        lambda kind: (resource.RLIM_INFINITY if kind == resource.RLIMIT_AS else 100,) * 2,
    )
    with pytest.raises(LnbenchError, match="no more threads"):
        limits.check(torch=False)
    assert len(started) == 1


REFUSALS = {
    "files": (OSError(errno.EMFILE, "Too many open files", "x\n.ttf"), "x .ttf: Too many open files; raise"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room"),
    "threads": (RuntimeError("can't start new thread"), "raise `ulimit -u`"),
    "library": (ImportError("libx.so: failed to map segment from shared object"), "raise `ulimit -v`"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_system_refuses_in_the_midst(case: str) -> None:
    error, said = REFUSALS[case]
    assert said in str(limits.refusal(error)) and "\n" not in str(limits.refusal(error))


def test_other_errors_are_not_the_systems() -> None:
    for error in (ValueError("x"), RuntimeError("x"), ImportError("x"), OSError("x")):
        assert limits.refusal(error) is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_path_that_is_no_utf_8(lnbench: Lnbench, tmp_path: Path) -> None:
    """It is used as it is, kept in the record, and shown with escapes in every output."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff\xfe"))
    folder.mkdir()
    model, weights, data = write_task(folder, images=20)
    task = [
        "--model",
        model,
        "--weights",
        weights,
        "--data",
        data,
        "--corruption",
        "clean",
        "--norm",
        "fixed",
    ]
    for _ in range(2):  # a new run, and the same again
        ran = lnbench("evaluate", *task, "--out", folder / "run")
        assert ran.code == 0, ran.err
    assert json.loads((folder / "run" / "results.json").read_bytes())["data"]["spec"] == data
    assert lnbench("evaluate", *task, "--dry-run").code == 0  # a place of its own, named by a hash
    for form in ("html", "md", "tex", "csv", "json", "txt"):
        ran = lnbench("report", folder / "run", "-o", folder / f"page.{form}", "--format", form)
        assert ran.code == 0, ran.err
        assert "\udcff" not in (folder / f"page.{form}").read_text(encoding="utf-8")
    outputs = ["--markdown", folder / "c.md", "--junit", folder / "c.xml", "--json", folder / "c.json"]
    assert lnbench("compare", folder / "run", folder / "run", *outputs).code == 0
    assert lnbench("compare", folder / "run", "--update-baseline", folder / "base.json").code == 0
    assert lnbench("compare", folder / "base.json", folder / "run").code == 0
    for name in ("out.pth", "out.safetensors"):
        ran = lnbench("convert", weights, "--model", model, "--to", "localnorm", "-o", folder / name)
        assert ran.code == 0, ran.err
