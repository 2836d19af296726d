"""What the system lets this process have (`ulimit`), known before libraries load that die without it.

The loader, OpenMP and OpenBLAS end the program with words of their own, and an exit code that means something
else here, where an address, a thread or a file is refused to them.
"""

from __future__ import annotations

import errno
import os
import threading
from importlib.util import find_spec
from pathlib import Path

from lnbench.errors import LnbenchError
from lnbench.files import one_line, reason

_LIGHT = 512 << 20  # bytes of addresses that the interpreter, numpy and its threads take
_ROOM = 1 << 30  # beside torch's own libraries
_FILES = 16  # that the interpreter, a run folder and a font need at once
_MOST_THREADS = 64

REMEDIES = {
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "raise `ulimit -u`",
    errno.ENOMEM: "try --limit, --cache DIR, a smaller --batch-size, or raise `ulimit -v`",
    errno.ENOSPC: "make room on the disk",
}
THREADS = "the system lets this user start no more threads: raise `ulimit -u`"


def check(*, torch: bool) -> None:
    """Raise LnbenchError, in one line, where a limit is too low for what is about to be loaded."""
    try:
        import resource
    except ImportError:  # Windows
        return
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if addresses != resource.RLIM_INFINITY:
        needed = _LIGHT + (_libraries() + _ROOM if torch else 0)
        if addresses < needed:
            raise LnbenchError(
                f"this process may have {addresses / 2**30:.1f} GiB of addresses, and its libraries need "
                f"{needed / 2**30:.1f}: raise `ulimit -v`"
            )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _FILES:
        raise LnbenchError(f"this process may open {files} files, and needs {_FILES}: raise `ulimit -n`")
    if resource.getrlimit(resource.RLIMIT_NPROC)[0] != resource.RLIM_INFINITY:
        _try_threads(min(os.cpu_count() or 1, _MOST_THREADS) + 1)


def refusal(error: Exception) -> str | None:
    """What to say where the system refused something in the midst of the work; None for anything else."""
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"{one_line(error.filename, 300)}: "
        remedy = REMEDIES.get(error.errno)
        return f"{where}{reason(error)}" + (f"; {remedy}" if remedy else "")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return THREADS
    if isinstance(error, ImportError) and any(word in str(error) for word in ("map segment", "allocate")):
        return f"{one_line(error, 200)}; raise `ulimit -v`"
    return None


def _libraries() -> int:
    """Bytes of the libraries that importing torch maps."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return 0
    folder = Path(found.origin).parent
    places = [folder / "lib", *folder.parent.glob("nvidia/*/lib")]
    return sum(file.stat().st_size for place in places for file in place.glob("*.so*") if file.is_file())


def _try_threads(count: int) -> None:
    """Start as many threads at once as libraries will, one for each core."""
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise LnbenchError(THREADS) from None
    finally:
        end.set()
        for thread in started:
            thread.join()
