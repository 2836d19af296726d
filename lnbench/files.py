"""Writing that holds: whole files or none, appends that never leave half a line, one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lnbench.errors import LnbenchError, RecordError

# A link under the name of a file of ours is somebody's way to have another file overwritten.
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


@contextlib.contextmanager
def atomic(path: Path, error: type[LnbenchError] = RecordError, *, flush: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to that becomes `path` when the block ends, in one step; else `path` stays as it was.

    Without `flush` the system brings the bytes to the disk when it likes: for what is verified when read, and
    for a set's many images.

    Raises `error`, in one line, where the system refuses.
    """
    draft = temporary(path)
    try:
        # What lies under the draft's name is a leftover, or somebody's link: never written through.
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            yield file
            file.flush()
            if flush:
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as problem:  # Ctrl-C too: no half-written file stays behind
        with contextlib.suppress(OSError):
            draft.unlink()
        if isinstance(problem, OSError):
            raise error(f"cannot write {one_line(path)}: {reason(problem)}") from None
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step. RecordError, and nothing half-written, when it fails."""
    with atomic(path) as file:
        file.write(content)


def regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A regular file to read from: the one way in for what a person or a stranger's file names.

    Raises OSError where the system refuses, and for folders, and for pipes and devices, which would block or
    never end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error)) from None
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    why = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "not a regular file"
    raise OSError(errno.EINVAL, why)


@contextlib.contextmanager
def opened(
    path: str | os.PathLike[str], error: type[LnbenchError] = RecordError
) -> Iterator[io.BufferedReader]:
    """`regular` for a block, and `error`, in one line, for what the system refuses in it."""
    try:
        with regular(path) as file:
            yield file
    except OSError as problem:
        raise error(f"cannot read {one_line(path)}: {reason(problem)}") from None


def read_bytes(path: Path, error: type[LnbenchError] = RecordError, *, most: int = 1 << 30) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises `error` as `opened` does."""
    with opened(path, error) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise error(f"{one_line(path)} has {size / 2**20:,.0f} MiB, which is beyond reason")
        return file.read(most)


def temporary(path: Path) -> Path:
    """Where `atomic` prepares `path`; the same name each time, so leftovers never pile up."""
    return path.with_name(f".{path.name}.tmp")


def append_whole(path: Path, content: bytes) -> None:
    """Add `content` to the end of `path` and flush it to disk.

    Raises RecordError when the disk refuses; the file then is as it was.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOFOLLOW, 0o644)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {reason(error)}") from None
    before = os.fstat(handle).st_size
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except BaseException as error:  # Ctrl-C too: half a condition must not stay behind
        with contextlib.suppress(OSError):
            os.ftruncate(handle, before)
        if isinstance(error, OSError):
            raise RecordError(f"cannot write {path}: {reason(error)}; finished cells are kept") from None
        raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; the system releases it when the process ends, however it ends.

    Raises BlockingIOError where another process holds it, unless told to `wait`; OSError where the file
    cannot be made. On systems without such locks (Windows) it only makes the file.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC | NOFOLLOW, 0o644)
    try:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def one_line(text: object, limit: int = 1000) -> str:
    """What came from elsewhere (a path, a name, a library's message) as one line that any terminal can take.

    Runs of white space become one space; other characters that cannot be printed, undecodable bytes among
    them, become escapes; what is longer than `limit` ends in an ellipsis.
    """
    line = printable(" ".join(str(text).split())[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def counted(count: int, what: str, many: str | None = None) -> str:
    """`1 cell`, `1,200 cells`; `many` is the plural where it is not made with an s."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"


def printable(text: str) -> str:
    """`text` with escapes for what cannot be printed, line breaks too; the rest stays: for names."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def inert(text: object, limit: int = 1000) -> str:
    """What came from elsewhere as one line for a terminal or a log: `one_line`, and no CI system's command.

    GitHub and Azure take `::error::` and `##[error]` within a job's output for commands.
    """
    return re.sub(r":(?=:)|#(?=#)", r"\g<0> ", one_line(text, limit))


def said(error: BaseException, limit: int = 160) -> str:
    """What an exception says, as one line; its kind where it says nothing."""
    return one_line(error, limit) or type(error).__name__


def reason(error: Exception) -> str:
    """The system's words for an error, without its number and path; else what it says."""
    return getattr(error, "strerror", None) or said(error)
