"""This machine's memory: how much of it decoded images may take, and how freed memory is kept at hand."""

from __future__ import annotations

import ctypes
import os
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
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def give_back() -> None:
    """Give memory that was freed back to the system, wherever malloc keeps it; without glibc, nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return
