"""How many of 10,000 damaged or invented inputs end in anything but a result or one line.

    python -m benchmarks.fuzz [--cases 10000] [--out benchmarks/results/fuzz.md]

Every case is made from its number alone. A reader of files from strangers is called in this process with a
limit of memory; what it may do is to return, or to raise a LnbenchError of one line. Anything else is an
internal error, a crash ends the run, and a case of more than five seconds counts as a hang.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lnbench.cli import values
from lnbench.config import load_models, load_preset
from lnbench.data.cifar_pickle import read_pickle
from lnbench.errors import LnbenchError
from lnbench.models import catalog
from lnbench.norm.modes import registry as modes
from lnbench.results import rules
from lnbench.results.compare import compare
from lnbench.results.correct import read_correct
from lnbench.results.reading import document, read, record_bytes, sealed
from lnbench.results.render.delimited import to_csv
from lnbench.results.render.terminal import to_text
from lnbench.results.store import RunFolder, make_record
from tests.results.samples import make_cells, make_run

SECONDS = 5.0
MEMORY = 8 << 30
RUN = make_run()
RECORD = make_record(RUN, make_cells(RUN))
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**63, -(2**70), 1e308, 1e-308, 0.5, "", "x", "\x1b[31m", "::error::", "a" * 5000,
    "\ud7ff", "日本", [], {}, [[]], {"a": {}}, ["x"] * 100,
)  # fmt: skip


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, left out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(data) + 1)
        kind = chance.choice((0, 0, 0, 1, 1, 2, 2, 3))
        if kind == 0 and place < len(data):
            data[place] = chance.randrange(256)
        elif kind == 1:
            del data[place : place + chance.randint(1, 20)]
        elif kind == 2:
            data[place:place] = data[place : place + chance.randint(1, 50)]
        else:
            del data[place + len(data) // 2 :]
    return bytes(data)


def altered(value: Any, chance: random.Random) -> Any:
    """The JSON value with something odd somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        kind = chance.randrange(10)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return {**value, str(chance.choice(ODD)): chance.choice(ODD)}
        return {**value, key: altered(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        return [*value[:place], altered(value[place], chance), *value[place + 1 :]]
    return chance.choice(ODD)


def record(folder: Path, chance: random.Random) -> None:
    """A record with a wrong field and a checksum that fits; what can be read is shown and compared."""
    content = json.loads(record_bytes(RECORD))
    for _ in range(chance.choice((1, 1, 2))):
        content = altered(content, chance)
    file = folder / "results.json"
    file.write_bytes(document(sealed(content)) if isinstance(content, dict) else b"[]")
    found = read(file)
    to_text([found]), to_csv([found])
    compare(RECORD, found, rules=[rules.parse("top1:-1pp")], allow_mismatch=True)


def record_bytes_damaged(folder: Path, chance: random.Random) -> None:
    (folder / "results.json").write_bytes(damaged(record_bytes(RECORD), chance))
    read_correct(folder, read(folder))


def run_folder(folder: Path, chance: random.Random) -> None:
    """A run folder with a damaged file that is to be gone on with."""
    with RunFolder.create_or_resume(folder / "run", RUN) as opened:
        opened.append(make_cells(RUN)[:3])
    file = folder / "run" / chance.choice(["run.json", "cells.jsonl"])
    file.write_bytes(damaged(file.read_bytes(), chance))
    RunFolder.create_or_resume(folder / "run", RUN).close()


PRESET = b"""name: mine
version: 1
description: a suite
include: core
corruptions: [gaussian_noise, fog]
severities: [1, 3, 5]
modes: [fixed, 'adapt:n=32']
batch_size: 64
parameters: {fog: {1: [1.5, 2]}}
"""


def preset(folder: Path, chance: random.Random) -> None:
    (folder / "preset.yaml").write_bytes(damaged(PRESET, chance))
    load_preset(str(folder / "preset.yaml"))


def models(folder: Path, chance: random.Random) -> None:
    text = b"- {model: demo, weights: a.pth, mean: [0, 0, 0], std: [1, 1, 1], ema: true}\n- model: demo\n"
    (folder / "models.yaml").write_bytes(damaged(text, chance))
    load_models(folder / "models.yaml")


def batch(_: Path, chance: random.Random) -> None:
    """A CIFAR batch."""
    whole = {"data": np.zeros((2, 12), np.uint8), "labels": [1, 2], "filenames": ["a", "b"]}
    try:
        read_pickle(damaged(pickle.dumps(whole, chance.randint(0, 5)), chance))
    except ValueError as error:  # what its caller turns into one line
        raise LnbenchError(str(error)) from None


def option(_: Path, chance: random.Random) -> None:
    """The text of an option."""
    texts = [b"blend:N=16,scope=batch", b"adapt:n=32", b"local:vote=mean", b"ema:m=0.1,layers=first3",
             b"224x320", b"4GiB", b"0.485,0.456,0.406", b"top1:-0.5pp", b"fixed/fog/*: top1:-1pp",
             b"torchvision:resnet50", b"net.py:build", b"1,16"]  # fmt: skip
    text = damaged(chance.choice(texts), chance).decode("utf-8", "surrogateescape")
    calls: tuple[Callable[[], object], ...] = (
        lambda: modes.parse(text), lambda: values.sides("--crop", text),
        lambda: values.size("--memory", text),
        lambda: values.channels("--mean", text), lambda: rules.parse(text), lambda: catalog.parse(text),
        lambda: values.whole_numbers("--group-images", text),
    )  # fmt: skip
    chance.choice(calls)()


KINDS = (record, record_bytes_damaged, run_folder, preset, models, batch, option)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cases", type=int, default=10_000)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    counts: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    for number in range(given.cases):
        kind, chance = KINDS[number % len(KINDS)], random.Random(number)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                kind(Path(folder), chance)
                ended = "taken"
            except LnbenchError as error:
                ended = "refused" if "\n" not in str(error) else "refused in many lines"
                if "lines" in ended:
                    print(number, kind.__name__, ascii(str(error)[:200]))
            except Exception as error:
                ended = "internal error"
                print(number, kind.__name__, type(error).__name__, str(error)[:200])
        counts[kind.__name__][ended] += 1
        if time.monotonic() - started > SECONDS:
            counts[kind.__name__]["hang"] += 1
            print(number, kind.__name__, "hangs")
    columns = ("taken", "refused", "refused in many lines", "internal error", "hang")
    lines = ["# Damaged and invented inputs: how they end", ""]
    lines += [f"`python -m benchmarks.fuzz --cases {given.cases} --out benchmarks/results/fuzz.md`", ""]
    lines += [f"| input | {' | '.join(columns)} |", "|:--|" + "--:|" * len(columns)]
    for name, found in counts.items():
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(str(found[c]) for c in columns)} |")
    whole = sum(counts.values(), Counter())
    lines.append(f"| all | {' | '.join(str(whole[c]) for c in columns)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
