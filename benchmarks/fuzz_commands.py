"""Commands with the options they have, and odd values: the program is asked, so that none is left out."""

from __future__ import annotations

import contextlib
import io
import os
import random
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
from PIL import Image
from typer.main import get_command

from benchmarks.fuzz_kinds import PIXELS, RECORD, damaged
from lnbench.cli import COMMANDS, app
from lnbench.cli import run as entry
from lnbench.errors import LnbenchError
from lnbench.results.reading import record_bytes


class Option(NamedTuple):
    """An option as the program has it; `kind` is the name of its type: `int`, `Path`, …"""

    names: tuple[str, ...]
    kind: str
    takes_value: bool
    metavar: str


@cache
def options(command: str) -> list[Option]:
    """The options of a command, in its order."""
    return [
        Option((*one.opts, *one.secondary_opts), _kind(command, one.name), not one.is_flag, one.metavar or "")
        for one in get_command(app).commands[command].params  # type: ignore[attr-defined]
        if one.param_type_name == "option" and one.name != "help"
    ]


def needs_argument(command: str) -> bool:
    params = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return any(one.required for one in params)


@cache
def _hints(command: str) -> dict[str, Any]:
    return get_type_hints(COMMANDS[command])


def _kind(command: str, name: str) -> str:
    return _innermost(_hints(command)[name]).__name__


def _innermost(hint: Any) -> Any:
    """`list[float] | None` → float."""
    inner = [one for one in get_args(hint) if one is not type(None)]
    return _innermost(inner[0]) if inner else hint


# What each command is asked: small and cheap.
ASKED: dict[str, tuple[str, ...]] = {
    "evaluate": ("--model", "demo", "--data", "demo", "--limit", "2", "--corruption", "clean", "--dry-run"),
    "choose": ("--model", "demo", "--data", "demo", "-n", "2", "--norm", "batch", "-o", "c.json"),
    "convert": ("x.pth", "--model", "demo", "--to", "localnorm", "-o", "y.pth"),
    "corrupt-preview": ("x.png", "-o", "y.png", "--corruption", "fog", "--severity", "1"),
    "corrupt-export": ("npz:x.npz", "out", "--layout", "cifar-c", "--corruption", "fog", "--limit", "2"),
    "merge": ("out", "run"),
    "compare": ("results.json", "results.json"),
    "report": ("results.json",),
    "list": ("modes",),
}
FILES = ("results.json", "run", "x.npz", "x.png", "x.pth", "p.py", "m.yaml", "pipe", "link", "out", ".")
PLACES = ("/dev/null", "/dev/zero", "/nonexistent/x", "~", "new/x.html", "a" * 300, "\udcff", "日本")
NUMBERS = ("0", "-1", "1", "2", "0.5", "nan", "inf", "1e999", "5e-324", "9" * 5000, str(2**63), "1_0", "٣")
ODD = ("", "x", "\x1b[31m", "::error::x", "--", "-", "a=b", ",", ":", "%s{}", "a" * 5000)
VALID = (
    "fog", "noise", "fixed,batch", "local:vote=mean", "ema:m=0.1,layers=first3", "224x320", "0.5,0.4,0.3",
    "1/2", "npz:x.npz", "list:m.yaml", "demo", "p.py:build", "p.py:build(width=2)", "top1:-1pp", "1.0",
    "fixed/fog/*:2", "0.5pp", "4GiB", "net.", "cuda:0", "cpu", "dirichlet:delta=0.1", "core", "a=npz:x.npz",
)  # fmt: skip


def value(option: Option, chance: random.Random) -> str:
    """A value by the kind of option: what the help names, what others take, and what none does."""
    named = tuple(option.metavar.split("|")) if "|" in option.metavar else ()
    pools = {"int": NUMBERS, "float": NUMBERS, "Path": FILES + PLACES}
    own = pools.get(option.kind, VALID + named * 4)
    return chance.choice(own if chance.random() < 0.75 else (*FILES, *PLACES, *NUMBERS, *ODD, *VALID))


def words(chance: random.Random) -> list[str]:
    """A command, what it is asked, and up to three options it has, whatever they are."""
    name = chance.choice(tuple(COMMANDS))
    found = [name, *ASKED[name]]
    for option in chance.choices(options(name), k=chance.randint(0, 3)) if options(name) else ():
        found.append(chance.choice(option.names))
        found += [value(option, chance)] if option.takes_value else []
    if chance.random() < 0.2:
        found[chance.randrange(1, len(found))] = chance.choice((*ODD, *PLACES, *FILES))
    return found


def fill(folder: Path, chance: random.Random) -> None:
    """Files that commands may be given, whole or damaged; what runs as code is harmless."""
    import torch

    weights = io.BytesIO()
    torch.save({"net.weight": torch.ones(3, 3), "epoch": 1}, weights)
    arrays, picture = io.BytesIO(), io.BytesIO()
    np.savez(arrays, images=PIXELS, labels=np.arange(5))
    Image.fromarray(PIXELS[0]).save(picture, "PNG")
    plugin = b"import lnbench\nimport torch\nwidth = 3\ndef build(width=width): return torch.nn.Flatten()\n"
    for name, content in {
        "results.json": record_bytes(RECORD), "x.npz": arrays.getvalue(), "x.png": picture.getvalue(),
        "x.pth": weights.getvalue(), "p.py": plugin, "m.yaml": b"- {model: demo, ema: false}\n",
    }.items():  # fmt: skip
        (folder / name).write_bytes(damaged(content, chance) if chance.random() < 0.25 else content)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("results.json")
    (folder / "run").mkdir()
    (folder / "run" / "results.json").write_bytes(record_bytes(RECORD))


def command(folder: Path, chance: random.Random) -> None:
    """A command line in this process, through the program's own entry."""
    fill(folder, chance)
    asked = words(chance)
    before = Path.cwd()
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True) for _ in "12")
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entry(asked)
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        os.chdir(before)
    err.seek(0)
    said = err.read()
    if "internal error" in said or code not in (0, 1, 2, 3) or "Traceback" in said:
        raise RuntimeError(f"{asked}: {code} {said[-300:]}")
    if code in (2, 3):
        told = [line for line in said.splitlines() if line.startswith(("lnbench: ", "lnbench "))]
        if not told:
            raise RuntimeError(f"{asked}: {code} without a line")
        raise LnbenchError("\n".join(told))
