"""This machine's memory: how much of it decoded images may take, and how freed memory is kept at hand."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.errors import LnbenchError
from lnbench.files import read_bytes
from lnbench.lazy import torch

if TYPE_CHECKING:
    from torch import device as Device

# From glibc's malloc.h: the size from which a buffer is mapped by itself, and the free memory at the top of
# the heap above which it goes back to the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# From Linux's mman.h, and the pages that it asks for.
_MADV_HUGEPAGE, _HUGE = 14, 2 << 20
_PIECE = 256 << 20  # of memory that is touched at once: less than what malloc maps by itself
_SHARE = 0.7  # of a machine's memory
_FULL = 0.5  # likewise, what one process holds where it should give back what is free
_LITTLE = 0.25  # and what all of them leave

_kept = False  # whether freed memory stays here
_in_use = 0.0  # bytes that were held when all that was free had been given back


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
    return max(1, int((limit or _machines() // 2) - _most_resident()) // 2)


def present(device: Device) -> float:
    """Bytes of memory that a device has; of a CPU, what the machine has or this process may take of it."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return _machines()


def held(device: Device) -> float:
    """Bytes that this process holds now, on a GPU in tensors; 0 where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    try:
        pages = int(read_bytes(Path("/proc/self/statm")).split()[1])
    except (LnbenchError, ValueError, IndexError):
        return _most_resident()
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def most_held(device: Device) -> float:
    """The most bytes that this process has held so far, on a GPU what its allocator has reserved."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    return _most_resident()


def _most_resident() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _machines() -> float:
    """What the machine has, or the container that this runs in; endless where the system does not say."""
    found = [sys.maxsize]
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(read_bytes(Path(file))))
        except (LnbenchError, ValueError):  # none there, or "max"
            continue
    return float(min(found))


def keep_freed() -> None:
    """Let malloc keep large buffers that are freed, for the next layer, instead of mapping new ones.

    Every mapped buffer costs a page fault and a cleared page for each 4 KiB: on a CPU 5 to 20 % of a
    forward pass. For the whole process, so it is the command's to decide; does nothing without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    global _kept
    _kept = bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))


def touch(count: float, processes: int = 1) -> None:
    """Take memory that a run is going to need before it does, in large pages where the system has them.

    `count`: bytes, in each of the machine's `processes`; nothing where that would be most of its memory.

    The first use of a page is a fault, and on a virtual machine a slow one: it would make the first passes of
    a run longer than all others. Only after `keep_freed`; what is free already counts.
    """
    device = torch.device("cpu")
    count -= freed(device)
    if not _kept or processes * (held(device) + count) > _SHARE * _machines():
        return
    blocks = []
    for start in range(0, int(count), _PIECE):
        block = torch.empty(min(_PIECE, int(count) - start), dtype=torch.uint8)
        first = -(-block.data_ptr() // _HUGE) * _HUGE
        whole = (block.data_ptr() + len(block) - first) // _HUGE * _HUGE
        if whole > 0:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), _MADV_HUGEPAGE)
        blocks.append(block.zero_())


def relieve(device: Device) -> None:
    """Give freed memory back where memory is short: blocks of other sizes do not fit where some were.

    A mode that learns takes as much at a time as all else together, and each leaves its own pieces behind.
    Only on a CPU and after `keep_freed`; costs the faults that were saved.
    """
    global _in_use
    if _kept and device.type == "cpu" and _is_short(device):
        ctypes.CDLL(None).malloc_trim(0)
        _in_use = held(device)


def _is_short(device: Device) -> bool:
    whole = _machines()
    if held(device) > _FULL * whole:
        return True
    try:
        left = re.search(rb"MemAvailable: *(\d+) kB", read_bytes(Path("/proc/meminfo")))
    except LnbenchError:
        return False
    return left is not None and int(left[1]) * 1024 < _LITTLE * whole


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                     "fordblks", "keepcost")
    )  # fmt: skip


def freed(device: Device) -> float:
    """Bytes that `held` counts though they are free for what comes next; without glibc 2.33, 0."""
    if device.type == "cuda":
        return 0.0
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return 0.0
    ask.restype = _Mallinfo
    # What was given back is free as well, but not held.
    return max(0.0, min(float(ask().fordblks), held(device) - _in_use))
