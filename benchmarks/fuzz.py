"""How many of 10,000 damaged or invented inputs end in anything but a result or one line.

    python -m benchmarks.fuzz [--cases 10000] [--kind command] [--out benchmarks/results/fuzz.md]

Every case is made from its number alone (`fuzz_kinds`). The readers of files from strangers and the commands
are called in processes of some cases each, with a limit of memory and output; what they may do is to return,
or to raise a LnbenchError of one line. Anything else is an internal error; a process that dies is a crash, of
the case that it was at; a case of more than five seconds of computing is a hang, as is one that has not ended
after two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import select
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.fuzz_commands import command
from benchmarks.fuzz_kinds import READERS
from lnbench.errors import LnbenchError

Kind = Callable[[Path, random.Random], None]
KINDS: tuple[Kind, ...] = (*READERS, command)

SECONDS, PATIENCE = 5.0, 120.0
MEMORY = 12 << 30
OUTPUT = 1 << 26  # bytes that a case may write to one file
PART = 140  # cases of one process


def judged(kind: Kind, number: int) -> str:
    """How a case ended."""
    started = time.process_time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            kind(Path(folder), random.Random(number))
        ended = "taken"
    except LnbenchError as error:
        ended = "refused" if "\n" not in str(error) else "refused in many lines"
        if "lines" in ended:
            print(number, kind.__name__, ascii(str(error)[:200]), flush=True)
    except Exception as error:
        ended = "internal error"
        print(number, kind.__name__, type(error).__name__, ascii(str(error)[:400]), flush=True)
    if time.process_time() - started > SECONDS:
        print(number, kind.__name__, f"took {time.process_time() - started:.0f} s", flush=True)
        ended = "hang"
    return ended


def run_part(kinds: Sequence[Kind], numbers: range) -> tuple[list[str], str]:
    """How the cases of one process ended; where it did not reach the last, why: crash or hang."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT, OUTPUT))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for number in numbers:
            os.write(send, f"{judged(kinds[number % len(kinds)], number)}\n".encode())
        os._exit(0)
    os.close(send)
    text, why = b"", ""
    while True:
        ready, _, _ = select.select([receive], [], [], PATIENCE)
        if not ready:
            why = "hang"
            os.kill(child, signal.SIGKILL)
            break
        if not (piece := os.read(receive, 1 << 16)):
            break
        text += piece
    os.close(receive)
    _, status = os.waitpid(child, 0)
    return text.decode().split("\n")[:-1], why or ("crash" if status else "")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cases", type=int, default=10_000)
    arguments.add_argument("--kind", choices=[kind.__name__ for kind in KINDS], help="this kind alone")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    kinds = [kind for kind in KINDS if given.kind in (None, kind.__name__)]
    counts: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in kinds}
    for kind in kinds:  # whatever they import, before the processes part
        with contextlib.suppress(LnbenchError), tempfile.TemporaryDirectory() as folder:
            kind(Path(folder), random.Random(0))
    number = 0
    while number < given.cases:
        ended, why = run_part(kinds, range(number, min(number + PART, given.cases)))
        if why:
            ended.append(why)
            print(number + len(ended) - 1, why, flush=True)
        for one in ended:
            counts[kinds[number % len(kinds)].__name__][one] += 1
            number += 1
    columns = ("taken", "refused", "refused in many lines", "internal error", "crash", "hang")
    lines = ["# Damaged and invented inputs: how they end", ""]
    more = f" --kind {given.kind}" if given.kind else ""
    out = given.out or "benchmarks/results/fuzz.md"
    lines += [f"`python -m benchmarks.fuzz --cases {given.cases}{more} --out {out}`", ""]
    lines += [f"| input | cases | {' | '.join(columns)} |", "|:--|--:|" + "--:|" * len(columns)]
    whole = sum(counts.values(), Counter())
    for name, found in [*counts.items(), ("all", whole)]:
        cells = " | ".join(str(found[column]) for column in columns)
        lines.append(f"| {name.replace('_', ' ')} | {found.total()} | {cells} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
