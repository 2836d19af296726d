"""Which device a process takes, and what is said when devices, memory or NCCL are not as hoped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lnbench import dist
from lnbench.device import one_kind_of_shortage
from lnbench.dist import Gone, Processes
from lnbench.errors import LnbenchError, UsageError
from tests.device import Device


def test_each_process_takes_a_gpu_of_its_own() -> None:
    with Device(count=2) as gpu:
        for rank in range(2):
            found = Processes(rank, 2, rank, 2).device("cuda")
            assert (found.index, gpu.current) == (rank, rank)


def test_a_process_on_the_cpu_leaves_the_gpus_alone() -> None:
    with Device(count=2) as gpu:
        assert Processes(1, 2, 1, 2).device("cpu").type == "cpu"
        assert not gpu.contexts


def test_joining_others_sets_up_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(dist, "rendezvous", lambda *_, **__: iter([(None, 1, 2)]))
    given: dict[str, Any] = {}
    monkeypatch.setattr(dist.distributed, "init_process_group", lambda kind, **_: given.update(kind=kind))
    with Device(count=2) as gpu:
        dist._join()
        assert given["kind"] == "cpu:gloo,cuda:nccl" and not gpu.contexts


def test_one_gpu_by_its_number_is_not_for_several_processes() -> None:
    with Device(count=2):
        with pytest.raises(UsageError, match=r"cuda:1: 2 processes .* use --device cuda"):
            Processes(0, 2, 0, 2).device("cuda:1")
        assert Processes(0, 2, 0, 1).device("cuda:1").index == 1  # the others are on other machines


@pytest.mark.parametrize(("name", "why"), [("mps", "no float64"), ("xpu", "not been held"), ("meta", "")])
def test_another_kind_of_device_is_refused_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: only cpu and cuda.*{why}"):
        dist.ALONE.device(name)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("NCCL error: Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1b000", LnbenchError,
         "two processes on one GPU: use --device cuda"),
        ("NCCL error in: ProcessGroupNCCL.cpp:3356, unhandled system error, NCCL version 2.27", LnbenchError,
         "cannot add up over NCCL: NCCL error .*NCCL_DEBUG"),
        ("NCCL error: remote process exited or a network error", Gone, "a process of this run ended"),
        ("[gloo/tcp/pair.cc:542] Connection closed by peer [127.0.0.1]", Gone, "a process of this run ended"),
    ],
)  # fmt: skip
def test_nccl_speaks_for_itself(text: str, kind: type[LnbenchError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught, Processes(1, 2)._together():
        raise RuntimeError(text)
    assert type(caught.value) is kind and "\n" not in str(caught.value)


def test_short_memory_is_no_lost_process() -> None:
    with pytest.raises(torch.OutOfMemoryError), Processes(1, 2)._together():
        raise torch.OutOfMemoryError("CUDA out of memory")


SHORT = [
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
]


@pytest.mark.parametrize("text", SHORT)
def test_every_library_runs_out_of_memory_in_one_way(text: str) -> None:
    with pytest.raises(torch.OutOfMemoryError), one_kind_of_shortage():
        raise RuntimeError(text)


def test_another_error_stays_itself() -> None:
    with pytest.raises(RuntimeError, match="shapes") as caught, one_kind_of_shortage():
        raise RuntimeError("shapes differ")
    assert type(caught.value) is RuntimeError
