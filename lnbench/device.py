"""What is particular about a GPU: it is given work without waiting, and says in many ways that it is full."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from lnbench.lazy import np, torch

if TYPE_CHECKING:
    from torch import Tensor

# What libraries say that ask the driver for memory beside torch's allocator: workspaces of cuDNN and cuBLAS,
# plans of cuSOLVER and cuFFT. cuDNN finds no engine where none fits into what is left.
_SHORT = (
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
    "CUDA error: out of memory",
)


@contextlib.contextmanager
def one_kind_of_shortage() -> Iterator[None]:
    """Raise torch.OutOfMemoryError whichever of a device's libraries says that its memory is short."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        text = str(error)
        if any(words in text for words in _SHORT):
            raise torch.OutOfMemoryError(text) from error
        raise


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the one that torch means where none is named: for pinned memory, events and streams.

    Whatever asks for another would make a context on a GPU that is not used, hundreds of megabytes large.
    """
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def moved(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on a device, in its own type; to a GPU without waiting, from pinned memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    with current(device):
        return tensor.pin_memory().to(device, non_blocking=True)
