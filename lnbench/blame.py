"""Whose code failed: the last line of a person's own on the way to an error, as opposed to a library's."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

from lnbench.files import one_line, said


def own_line(error: BaseException) -> str:
    """`net.py, line 12`: where, outside of lnbench, Python and packages, it went wrong; "" if nowhere.

    A file that cannot be parsed has its line too.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{one_line(error.filename)}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _own(frame.filename)]
    return f"{one_line(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""


def described(error: BaseException) -> str:
    """The error in a few words, an exit among them: `KeyError: 'absent'`, `SystemExit: 0`."""
    return f"{type(error).__name__}: {said(error)}"


def _own(file: str) -> bool:
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    strangers = [*libraries, str(Path(__file__).parent), "<", *([str(Path(torch).parent)] if torch else [])]
    return not file.startswith(tuple(strangers)) and Path(file).name != "lnbench"  # the script that pip makes
