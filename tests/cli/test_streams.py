"""Outputs that nobody reads, that are full or closed or know no é; signals. In processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.test_compare import write

ROOT = Path(__file__).parents[2]
PROGRAM = f"exec {sys.executable} -m lnbench"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and signals")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "base", images=400)
    write(folder / "same", images=400)
    write(folder / "worse", images=400, loss=0.2)
    return folder


def shell(command: str, folder: Path, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit code and standard error of `command`, where $L is the program."""
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stderr.decode("utf-8", "backslashreplace")


FULL = "lnbench: standard output was not taken: No space left on device\n"
# A command, an output, the exit code and what standard error says. {} is where the output goes.
OUTPUTS = {
    "gate passes, reader gone": ("compare base same", "> >(true)", 0, ""),
    "gate fails, reader gone": ("compare base worse", "> >(true)", 1, ""),
    "gate passes, disk full": ("compare base same", "> /dev/full", 0, FULL),
    "gate fails, disk full": ("compare base worse", "> /dev/full", 1, ""),
    "gate passes, closed": ("compare base same", ">&-", 0, ""),
    "gate fails, closed": ("compare base worse", ">&-", 1, ""),
    "gate fails, both closed": ("compare base worse", ">&- 2>&-", 1, ""),
    "report, reader gone": ("report base --format json", "> >(head -c 1 > /dev/null)", 0, ""),
    "report, disk full": ("report base", "> /dev/full", 3, FULL),
    "report, errors closed": ("report none", "2>&-", 3, ""),
    "list, all closed": ("list modes", "<&- >&- 2>&-", 0, ""),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_an_output_that_takes_nothing(runs: Path, case: str) -> None:
    words, output, code, said = OUTPUTS[case]
    assert shell(f"{PROGRAM} {words} {output}", runs) == (code, said)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize(
    "words", ["--help", "evaluate --help", "report base", "compare base same", "list data"]
)
def test_an_output_that_knows_few_characters(runs: Path, words: str, encoding: str) -> None:
    assert shell(f"{PROGRAM} {words}", runs, {"PYTHONIOENCODING": encoding}) == (0, "")


ENDING = """
import os, signal, sys
number = int(sys.argv.pop(1))
from lnbench.evaluate import evaluation
def prepare_all(*_, scratch, **__):
    (scratch / "a.lnstore").write_text("decoded")
    os.kill(os.getpid(), number)
    raise AssertionError
evaluation.prepare_all = prepare_all
from lnbench.__main__ import main
main()
"""


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_in_a_line_and_leaves_no_scratch(tmp_path: Path, name: str, code: int) -> None:
    script = tmp_path / "ending.py"
    number = int(getattr(signal, name))
    # Whoever runs the tests may ignore it, as `nohup` and shells in the background do.
    usual = "default_int_handler" if name == "SIGINT" else "SIG_DFL"
    script.write_text(f"import signal\nsignal.signal({number}, signal.{usual})\n{ENDING}")
    command = f"exec {sys.executable} {script} {number} evaluate --model demo --data demo --out runs/a"
    said = "lnbench: interrupted; what is finished is kept, the same command goes on\n"
    assert shell(command, tmp_path) == (code, said)
    assert list(tmp_path.iterdir()) == [script]


def test_nohup_is_meant(tmp_path: Path) -> None:
    script = tmp_path / "ending.py"
    script.write_text(ENDING.replace("raise AssertionError", "os._exit(7)"))
    number = int(signal.SIGHUP)
    command = f"exec {sys.executable} {script} {number} evaluate --model demo --data demo --out runs/a"
    assert shell(f"trap '' HUP; {command}", tmp_path) == (7, "")


@pytest.mark.parametrize("module", ["lnbench.streams", "typer", "lnbench.cli.evaluate"])
def test_ctrl_c_in_the_first_moments(tmp_path: Path, module: str) -> None:
    """While `module` is imported."""
    script = tmp_path / "early.py"
    script.write_text(
        "import builtins\nfound = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        f"    if name == {module!r}: raise KeyboardInterrupt\n"
        "    return found(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "from lnbench.__main__ import main\nmain()\n"
    )
    code, said = shell(f"exec {sys.executable} {script} list modes", tmp_path)
    assert code == 130 and said in ("", "lnbench: interrupted\n")
