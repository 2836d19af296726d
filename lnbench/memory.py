"""This machine's memory: how much of it decoded images may take, and how freed memory is kept at hand."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h: the size from which a buffer is mapped by itself, and the free memory at the top of
# the heap above which it goes back to the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def room_for_images(limit: int | None, processes: int) -> int:
    """Bytes of decoded images that a process may hold in memory rather than in a file; at least 1.

    `limit`: bytes for everything, half of this machine's memory where None. What is taken already
    (interpreter, torch, networks) counts, and half of the rest is left for the computation. With several
    `processes` on the machine it is 1, nothing: they share a file.
    """
    if processes > 1:
        return 1
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, ((limit or present // 2) - taken) // 2)


def keep_freed() -> None:
    """Let malloc keep large buffers that are freed, for the next layer, instead of mapping new ones.

    Every mapped buffer costs a page fault and a cleared page for each 4 KiB: on a CPU 5 to 20 % of a
    forward pass. For the whole process, so it is the command's to decide; does nothing without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
