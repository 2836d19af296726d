"""Commands and functions run by several processes of this machine, as torchrun starts them; some are killed.

They are forked from a server that has imported everything once, so that a world of eight takes a second.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a command imports under way, half of the time that a small run takes, is imported once for all of them.
IMPORTED = [
    "tests.processes", "lnbench.cli", "lnbench.evaluate.evaluation", "lnbench.pictures.sheet",
    "lnbench.progress", "lnbench.results.render.live", "lnbench.results.render.plots",
    "matplotlib.backends.backend_svg", "matplotlib.figure",
]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a process ended (a negative code is a signal) and what it said."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Fault:
    """What happens to process `rank` at its `call`-th call of anything that counts, adds up or writes."""

    rank: int
    call: int
    signal: int = signal.SIGKILL


def run_world(
    world: int,
    words: Sequence[object],
    folder: Path,
    *,
    fault: Fault | None = None,
    plugin: str | None = None,
    patience: float = 60,
    timeout: float = 30,
) -> list[Ended]:
    """Run an lnbench command in `world` processes, one thread each; what runs beyond `patience` is killed.

    `plugin`: a module that each process imports first. `timeout`: how long the processes wait for each
    other, in seconds.
    """
    own = {} if fault is None else {fault.rank: fault}
    arguments = [str(word) for word in words]
    calls = [functools.partial(_command, arguments, own.get(rank), plugin) for rank in range(world)]
    stopped = fault.rank if fault is not None and fault.signal == signal.SIGSTOP else None
    return call_world(calls, folder, patience=patience, timeout=timeout, stopped=stopped)


def call_world(
    calls: Sequence[Callable[[], object]],
    folder: Path,
    *,
    patience: float = 60,
    timeout: float = 30,
    stopped: int | None = None,
) -> list[Ended]:
    """Call each of `calls` in a process of its own, as torchrun would start it; `run_world` has the rest.

    `stopped`: the process that is known to hang, for which nobody waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world, started = len(calls), []
    for rank, call in enumerate(calls):
        environment = {
            "RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LNBENCH_TIMEOUT": timeout,
        }  # fmt: skip
        started.append(_server().Process(target=_process, args=(call, environment, folder / f"{rank}")))
        started[-1].start()
    ended = []
    for rank, process in enumerate(started):
        process.join(1 if rank == stopped else patience)
        hung = process.is_alive()
        if hung:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        said = (Path(f"{folder / str(rank)}.{name}").read_text() for name in ("out", "err"))
        ended.append(Ended(None if hung else process.exitcode, *said))
    return ended


@functools.cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _process(call: Callable[[], object], environment: dict[str, object], said: Path) -> None:
    import torch

    os.environ.update({name: str(value) for name, value in environment.items()})
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{said}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    torch.set_num_threads(1)
    call()


def _command(words: list[str], fault: Fault | None, plugin: str | None) -> None:
    from importlib import import_module

    if plugin is not None:
        import_module(plugin)
    if fault is not None:
        _arm(fault)
    sys.argv = ["lnbench", *words]
    from lnbench.__main__ import main

    main()


def _arm(fault: Fault) -> None:
    from lnbench import files
    from lnbench.dist import Processes
    from lnbench.evaluate.count import Task
    from lnbench.results import store

    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fault.call:
                os.kill(os.getpid(), fault.signal)
            return function(*args, **kwargs)

        return wrapper

    Task.count = counted(Task.count)  # type: ignore[method-assign]
    Task.begin = counted(Task.begin)  # type: ignore[method-assign]
    Processes.all_reduce = counted(Processes.all_reduce)  # type: ignore[method-assign]
    Processes.barrier = counted(Processes.barrier)  # type: ignore[method-assign]
    store.append_whole = counted(files.append_whole)
    store.write_atomic = counted(files.write_atomic)
    files.os.fsync = counted(os.fsync)  # type: ignore[attr-defined]
