"""Writing that holds: whole files or none, appends that never leave half a line, one writer per folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lnbench.errors import RecordError

LOCK = ".lnbench.lock"


def temporary(path: Path) -> Path:
    """Where `write_atomic` prepares `path`; the same name each time, so leftovers never pile up."""
    return path.with_name(f".{path.name}.tmp")


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step. RecordError, and nothing half-written, when it fails."""
    draft = temporary(path)
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise RecordError(f"cannot write {path}: {reason(error)}") from None


def append_whole(path: Path, content: bytes) -> None:
    """Add `content` to the end of `path` and flush it to disk; after a failure the file is as it was."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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


def take_lock(folder: Path) -> int | None:
    """Lock `folder` for this process; the system releases it when the process ends, however it ends.

    RecordError when another run holds it. None on systems without such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    path = folder / LOCK
    handle = -1
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        if isinstance(error, BlockingIOError):
            raise RecordError(
                f"{folder} is in use by another lnbench run: wait for it, or choose another --out"
            ) from None
        raise RecordError(f"cannot write in {folder}: {reason(error)}") from None
    return handle


def release_lock(handle: int | None) -> None:
    """Undo `take_lock`."""
    if handle is not None:
        os.close(handle)


def reason(error: OSError) -> str:
    """The system's words for an error, without its number and path."""
    return error.strerror or type(error).__name__
