"""The program's outputs and its end: a reader that goes away, a full disk, a signal.

What is printed is for somebody to read. Where nobody does any more, the work goes on and the exit code is
what it would have been; where the system refuses to take what was printed, that is known at the end.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import Any

ENCODING = "utf-8"  # where the environment names none
# A reader who left is no failure: | head, or a closed terminal.
_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)

_failures: dict[int, OSError] = {}


class Ended(KeyboardInterrupt):
    """The system asked the program to end: as Ctrl-C, with the exit code that shells give the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class _Output(io.RawIOBase):
    """A file descriptor that takes everything: after a failure, which is remembered, for nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        if self._descriptor not in _failures:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                _failures[self._descriptor] = error
        return len(data)


def prepare() -> None:
    """Replace standard output and error by ones that no reader can break, and let signals end the program.

    Characters that an output cannot show become escapes. Descriptors 0, 1 and 2 are taken where they are
    closed, so that no file of ours gets their numbers and with them what others print.
    """
    while (taken := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(taken)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        raw = _Output(descriptor)
        encoding = getattr(old, "encoding", None) or ENCODING
        buffered = io.BufferedWriter(raw)
        # Errors are seen at once; results, where nobody watches, are written in blocks.
        by_line = descriptor == 2 or raw.isatty()
        setattr(
            sys,
            name,
            io.TextIOWrapper(buffered, encoding, errors="backslashreplace", line_buffering=by_line),
        )
    for ending in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        # nohup starts programs with SIGHUP ignored, and means it.
        if ending is not None and signal.getsignal(ending) == signal.SIG_DFL:
            signal.signal(ending, _end)


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # asked a second time, it ends at once
    raise Ended(number)


def failure() -> OSError | None:
    """Why standard output did not take everything; None where it did, or where nobody reads it."""
    sys.stdout.flush()
    error = _failures.get(1)
    return None if error is None or error.errno in _GONE else error
