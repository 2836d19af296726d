"""The run folder where a machine fails: kill -9, a full disk, nowhere to write."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lnbench.errors import RecordError
from lnbench.results.marks import MARKS
from lnbench.results.reading import read
from lnbench.results.store import LOCK, RunFolder
from tests.results.samples import fill, make_cells, make_run

ROOT = Path(__file__).parents[2]


def child(code: str, folder: Path, prepare: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Another process that runs `code` on `folder`."""
    head = """
        import sys
        from pathlib import Path
        import numpy as np
        from lnbench.errors import RecordError
        from lnbench.results.store import RunFolder
        from tests.results.samples import labels, make_cells, make_run, rescored
        folder, run = Path(sys.argv[1]), make_run()
        cells = make_cells(run)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def test_kill_9_leaves_no_lock_and_keeps_what_was_appended(tmp_path: Path) -> None:
    code = """
        opened = RunFolder.create_or_resume(folder, run)
        opened.append(cells[:5])
        print("ready", flush=True)
        sys.stdin.read()
    """
    with child(code, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(RecordError, match="in use"):
            RunFolder.create_or_resume(tmp_path, make_run())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    fill(tmp_path, make_run())
    assert [c.top1 for c in read(tmp_path).cells] == [c.top1 for c in make_cells(make_run())]


def limit_files() -> None:
    """The system refuses any file beyond 3 KiB, as a full disk would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3072, 3072))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_keeps_finished_cells(tmp_path: Path) -> None:
    code = """
        opened = RunFolder.create_or_resume(folder, run)
        opened.append(cells[:2])
        try:
            opened.append(cells[2:])
        except RecordError as error:
            print(error)
        assert len(opened.finished()) == 2
        try:
            opened.finish(labels=labels(run), ids=np.arange(40))
        except RecordError as error:
            print(error)
    """
    with child(code, tmp_path, limit_files) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    first, second = out.splitlines()
    assert first == f"cannot write {tmp_path}/cells.jsonl: File too large; finished cells are kept"
    assert second.startswith(f"cannot write {tmp_path}/re") and second.endswith("File too large")
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
    with RunFolder.create_or_resume(tmp_path, make_run()) as folder:
        assert folder.cells == make_cells(make_run())[:2]


def test_a_system_on_which_nothing_else_can_be_written(tmp_path: Path) -> None:
    """No home, no folder for temporary files: the run's own folder serves matplotlib, which needs one."""
    code = """
        import os, tempfile
        os.environ.update(HOME="/proc/none", MPLCONFIGDIR="/proc/none", XDG_CACHE_HOME="/proc/none")
        def nowhere():
            raise FileNotFoundError(2, "No usable temporary directory found")
        tempfile._get_default_tempdir = nowhere
        with RunFolder.create_or_resume(folder, run) as opened:
            opened.append(cells)
            opened.finish(labels=labels(run), ids=np.arange(40))
    """
    with child(code, tmp_path / "run") as process:
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*MARKS, LOCK} - {
        "sheet.png",
        "blocks.jsonl",
    }


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RecordError, match=r"cannot make the run folder .*out: File exists"):
        RunFolder.create_or_resume(tmp_path / "out", make_run())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RecordError, match=r"cannot write in .*: Permission denied"):
        RunFolder.create_or_resume(tmp_path, make_run())


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lnbench.files.os.open", refuse)
    with pytest.raises(RecordError, match=r"cannot write in .*: Read-only file system"):
        RunFolder.create_or_resume(tmp_path, make_run())
