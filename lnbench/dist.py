"""Several processes as one: started by torchrun, they decide together, add up together and end together.

Control goes over gloo, on the CPU, so that a process that died is noticed at once; sums of tensors on a
GPU go over NCCL where each process has a GPU of its own. With one process every function here is a no-op.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from lnbench.errors import Left, LnbenchError, UsageError
from lnbench.files import one_line, said

T = TypeVar("T")

# The longest that any process may keep the others waiting: decoding on a slow disk, a long window. A
# process that dies is noticed at once; this is for one that hangs.
TIMEOUT_VARIABLE = "LNBENCH_TIMEOUT"
_TIMEOUT_SECONDS = 1800
_MOST_SECONDS = 10**8
_MEETING_SECONDS = 300  # all processes of a run are started at about the same time


class Gone(LnbenchError):
    """Other processes of the run have ended."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a run. `local`: its number and theirs on this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    store: Any = None  # the key-value store that torchrun serves; it outlives any process

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device that a `--device` names (auto, cpu, cuda, cuda:1) for this process.

        One of several takes a GPU of its own for `auto` and `cuda`. Raises UsageError. Every command that
        computes comes by here, so that this is also where arithmetic is made the same on all of them. Nothing
        is set up on a GPU that is not used.
        """
        chosen = self._chosen(name)
        if self.world > 1 and chosen.type == "cuda":
            torch.cuda.set_device(chosen)  # for the sums over processes: NCCL works where torch is
        # TF32 keeps ten bits of a float32: it moves figures by more than a severity step on some networks.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        return chosen

    def _chosen(self, name: str) -> torch.device:
        count = torch.cuda.device_count()
        if self.world > 1 and name in ("auto", "cuda") and count:
            return torch.device("cuda", self.local_rank % count)
        if name == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(name)
        except RuntimeError:
            raise UsageError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:N") from None
        if device.type not in ("cpu", "cuda"):
            raise UsageError(f"--device {name}: only cpu and cuda are supported{_why_not(device.type)}")
        if device.index is not None and device.type == "cuda" and self.local_world > 1:
            raise UsageError(
                f"--device {name}: {self.local_world} processes of this machine would share one GPU; "
                "use --device cuda, which gives each its own, and CUDA_VISIBLE_DEVICES to choose among them"
            )
        if device.type == "cuda" and (device.index or 0) >= count:
            raise UsageError(f"--device {name}: {count} CUDA devices found; use --device cpu")
        return device

    def sharing(self, device: torch.device) -> int:
        """How many processes of this machine compute on a device together."""
        places = torch.cuda.device_count() if device.type == "cuda" else 1
        return -(-self.local_world // places)

    def barrier(self, work: Callable[[], T]) -> T:
        """Run `work` in every process; where it fails in one, it fails in all with that one's error.

        The first process raises the error (of the lowest rank that has one), the others leave with its
        exit code and without a word.
        """
        if self.world == 1:
            return work()
        failure: Exception | None = None
        try:
            result = work()
        except Gone:
            raise
        except Exception as error:
            failure = error
        with self._together():
            failed = torch.tensor([failure is not None], dtype=torch.uint8)
            distributed.all_reduce(failed, distributed.ReduceOp.MAX)
            if failure is None and not failed.any():
                return result
            found: list[Any] = [None] * self.world
            distributed.all_gather_object(found, None if failure is None else _described(failure))
        self._leave(found, failure)

    def _leave(self, found: list[Any], failure: Exception | None) -> NoReturn:
        rank, (text, code) = next((rank, one) for rank, one in enumerate(found) if one is not None)
        if not self.first:
            raise Left(code)
        if failure is not None:
            raise failure
        error = LnbenchError(f"process {rank} of {self.world}: {text}")
        error.exit_code = code
        raise error

    def gather(self, value: T) -> list[T]:
        """The value of every process, by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        with self._together():
            distributed.all_gather_object(found, value)
        return found

    def broadcast(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        box = [value]
        with self._together():
            distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all processes."""
        if self.world == 1:
            return
        with self._together():
            if tensor.is_cuda and "nccl" not in str(distributed.get_backend_config()):
                whole = tensor.cpu()
                distributed.all_reduce(whole)
                tensor.copy_(whole)
            else:
                distributed.all_reduce(tensor)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """What torch says of a broken group is long; what it means is short."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if (text := _nccl(error)) is not None:
                raise LnbenchError(f"process {self.rank} of {self.world}: {text}") from None
            raise self.broken() from None

    def broken(self) -> BaseException:
        """The end of this process because others are gone; one process says so, the others leave quietly."""
        try:
            speaks = self.store is None or self.store.add("lnbench/broken", 1) == 1
        except RuntimeError:
            speaks = self.rank <= 1  # the first process served the store itself, and is gone
        if not speaks:
            return Left(LnbenchError.exit_code)
        return Gone(
            f"a process of this run ended or does not answer (noticed by {self.rank} of 0–{self.world - 1}): "
            "what is finished is kept; the same command goes on, with any number of processes"
        )


ALONE = Processes()

# NCCL's words for the others being gone, as against its own trouble (ncclResult_t in its nccl.h).
_OTHERS_GONE = ("remote process exited", "ncclRemoteError", "Connection closed", "Connection reset")


def _nccl(error: RuntimeError) -> str | None:
    """What NCCL says of itself, where it is not that another process has gone."""
    text = str(error)
    if "nccl" not in text.lower() or any(words in text for words in _OTHERS_GONE):
        return None
    if "Duplicate GPU" in text:
        return "NCCL found two processes on one GPU: use --device cuda, which gives each its own"
    told = one_line(text)
    return f"the GPUs cannot add up over NCCL: {told} (NCCL_DEBUG=WARN says more; one process needs no NCCL)"


def _why_not(kind: str) -> str:
    """What an accelerator lacks that the corruptions need."""
    if kind == "mps":
        return "; an Apple GPU has no float64, in which some corruptions and all counts are: --device cpu"
    if kind == "xpu":
        return "; an Intel GPU's pixels have not been held against the CPU's: --device cpu"
    return ""


def _described(error: Exception) -> tuple[str, int]:
    if isinstance(error, LnbenchError):
        return str(error), error.exit_code
    return f"internal error, {type(error).__name__}: {one_line(error)}", LnbenchError.exit_code


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, by its environment variables; else this one alone.

    Raises UsageError for an incomplete environment, LnbenchError when the others cannot be reached.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    processes = _join()
    handler = signal.signal(signal.SIGTERM, _ended_by(processes))
    try:
        yield processes
        processes.barrier(lambda: None)  # nobody leaves while another still works
        gc.collect()  # a DistributedDataParallel is a cycle that would hold the group's threads to the exit
        distributed.destroy_process_group()
    except KeyboardInterrupt:
        if not processes.first:
            raise Left(130) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


def _join() -> Processes:
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        seconds = float(os.environ.get(TIMEOUT_VARIABLE, _TIMEOUT_SECONDS))
        if not 0 < seconds <= _MOST_SECONDS:
            raise ValueError(f"{TIMEOUT_VARIABLE}={seconds:g}")
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"WORLD_SIZE is set, but {error} is not as torchrun sets it: start with torchrun, "
            "or unset WORLD_SIZE"
        ) from None
    _use_all_cores(local_world)
    backend = "gloo"
    if local_world <= torch.cuda.device_count():
        backend = "cpu:gloo,cuda:nccl"
    patience = timedelta(seconds=seconds)
    try:
        meeting = min(patience, timedelta(seconds=_MEETING_SECONDS))
        store, _, _ = next(rendezvous("env://", timeout=meeting))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distributed.init_process_group(
                backend, store=store, rank=rank, world_size=world,
                timeout=patience,
            )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise LnbenchError(f"process {rank} cannot reach the other processes: {said(error)}") from None
    return Processes(rank, world, local_rank, local_world, store)


def _use_all_cores(local_world: int) -> None:
    """Torchrun sets OMP_NUM_THREADS=1 where the user set nothing; here each process takes its share."""
    if os.environ.get("OMP_NUM_THREADS") == "1" and "TORCHELASTIC_RUN_ID" in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // local_world))


def _ended_by(processes: Processes) -> Callable[[int, FrameType | None], None]:
    """Torchrun ends the others by SIGTERM when one process fails."""

    def handler(_: int, __: FrameType | None) -> None:
        raise processes.broken()

    return handler
