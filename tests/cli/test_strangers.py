"""Pipes, devices and files that others cut short, under every name that an option takes: a line, at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from lnbench.data.registry import sources
from lnbench.data.rows import FileRows
from lnbench.errors import DataError
from tests.cli.conftest import Lnbench
from tests.networks import pictures, write_task

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
SECONDS = 20


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """A command that waits for a pipe or reads a device without end is ended."""

    def over(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=20)
    return ["--model", model, "--weights", weights, "--data", data]


@pytest.fixture(params=["pipe", "device", "folder", "missing"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something that is no file to read."""
    path = Path("/dev/zero") if request.param == "device" else tmp_path / "odd"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    return path


DATA = sorted(kind for kind, source in sources().items() if "path" in source.takes)
# What each command is told to read; {} is the odd thing.
READ: dict[str, Callable[[str, list[str]], list[str]]] = {
    "preset": lambda odd, task: ["evaluate", *task, "--dry-run", "--preset", odd],
    "models": lambda odd, task: ["evaluate", *task[4:], "--dry-run", "--models", odd],
    "class map": lambda odd, task: ["evaluate", *task, "--dry-run", "--class-map", odd],
    "classes file": lambda odd, task: ["evaluate", *task, "--dry-run", "--classes-file", odd],
    "plugin": lambda odd, task: ["evaluate", *task, "--dry-run", "--plugin", odd],
    "factory": lambda odd, task: ["evaluate", "--model", f"{odd}.py:build", *task[2:], "--dry-run"],
    "weights": lambda odd, task: ["evaluate", *task[:2], "--weights", odd, *task[4:], "--dry-run"],
    "bare data": lambda odd, task: ["evaluate", *task[:4], "--data", odd, "--dry-run"],
    "converted": lambda odd, task: ["convert", odd, *task[:2], "--to", "localnorm", "-o", f"{odd}.pth"],
    "exported": lambda odd, task: ["corrupt-export", f"npz:{odd}", f"{odd}.out", "--layout", "cifar-c"],
    "preview": lambda odd, task: ["corrupt-preview", odd, "-o", f"{odd}.png"],
    "base": lambda odd, task: ["compare", odd, odd],
    "run": lambda odd, task: ["report", odd],
    "part": lambda odd, task: ["merge", f"{odd}.merged", odd, odd],
    **{
        f"data {kind}": lambda odd, task, kind=kind: [  # type: ignore[misc]
            "evaluate", *task[:4], "--data", f"{kind}:{odd}", "--dry-run",
        ]
        for kind in DATA
    },
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_what_is_no_file_is_refused_in_a_line(
    lnbench: Lnbench, task: list[str], odd: Path, what: str
) -> None:
    if what.removeprefix("data ") in ("hf", "parquet"):
        pytest.importorskip("datasets")
    if what == "factory" and odd.is_fifo():
        os.mkfifo(f"{odd}.py")
    ran = lnbench(*READ[what](str(odd), task))
    assert ran.code in (2, 3), ran
    said = [line for line in ran.err.splitlines() if line.startswith("lnbench: ")]
    assert len(said) == 1, ran.err
    assert "internal error" not in said[0]


# Values that are none, by the option that they are given to.
VALUES = {
    "--shard": ("a/b/c", "0/0", "-1", "1/200000000", "2/1", "1/0", ""),
    "--crop": ("65536", "0", "31", "-1", "1e9", "64x", "9" * 5000),
    "--resize": ("65536", "8x8", "nan"),
    "--severity": ("nan", "inf", "-inf", "0", "5.5"),
    "--limit": ("0", "-1", "9" * 5000),
    "--seed": ("-1", "9" * 5000, str(2**63)),
    "--batch-size": ("0", "-5", "9" * 5000),
    "--memory": ("", "-1", "1e9XB", "9" * 5000),
    "--mean": ("nan,0,0", "1", "a,b,c", "1e999,0,0"),
    "--std": ("0,0,0", "-1,1,1", "inf,1,1"),
    "--precision": ("", "fp8", "\x1b[31m"),
    "--interpolation": ("", "x"),
    "--order": ("", "dirichlet:delta=nan", "dirichlet:delta=-1", "x" * 5000),
    "--sequence": ("", "x"),
    "--norm": ("", "blend:N=nan", "blend:N=1e999", "adapt:n=-1", "local:group=9999999999", ","),
    "--corruption": ("", "x", "fog,snow"),
    "--shift": ("", "a", "=x", "clean=demo", "a/b=demo"),
    "--device": ("", "cuda:99", "tpu", "cpu:cpu"),
    "--classes": ("", "some"),
    "--exif": ("", "maybe"),
    "--model": ("", "x", "demo:x", "file.py", "a.b:c d", "net.py:f(x=__import__('os'))", "a" * 5000),
    "--data": ("", "x:y", "npz:", "cifar10:", "\0"),
}


@pytest.mark.parametrize("option", VALUES)
def test_odd_values_of_options(lnbench: Lnbench, option: str) -> None:
    for value in VALUES[option]:
        ran = lnbench("evaluate", "--model", "demo", "--data", "demo", "--dry-run", f"{option}={value}")
        assert ran.code in (2, 3), (value[:80], ran)
        told = [line for line in ran.err.splitlines() if line.startswith(("lnbench: ", "lnbench evaluate: "))]
        assert len(told) == 1, (value[:80], ran.err)
        assert "internal error" not in ran.err and len(ran.err) < 12_000, value[:80]


def test_odd_values_of_convert(lnbench: Lnbench, task: list[str], tmp_path: Path) -> None:
    wanted = ["convert", task[3], *task[:2], "--to", "localnorm", "-o", tmp_path / "x.pth"]
    odd = {"--seed": "-1", "--groups": "0", "--epochs": "-1", "--lr": "nan", "-n": "0", "--to": "x"}
    for option, value in odd.items():
        more = [option, value, *(["--finetune", task[5]] if option in ("--epochs", "--lr") else [])]
        more += ["--calibrate", task[5]] if option == "-n" else []
        ran = lnbench(*wanted, *more)
        assert ran.code == 2, (option, ran)
        assert len([line for line in ran.err.splitlines() if line.startswith("lnbench: ")]) == 1, ran.err


PIXELS, LABELS = pictures(40)


def folder(path: Path) -> str:
    from PIL import Image

    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        (path / f"c{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path / f"c{label}" / f"{number}.png")
    return f"folder:{path}"


@pytest.mark.parametrize("name", ["c0/0.png", "c0/x.png", "x/y.png"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_odd_things_among_images(
    lnbench: Lnbench, task: list[str], tmp_path: Path, name: str, kind: str
) -> None:
    data = folder(tmp_path / "data")
    place = tmp_path / "data" / name
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    command = ["evaluate", *task[:4], "--data", data, "--classes", "all", "--corruption", "clean"]
    ran = lnbench(*command, "--dry-run")
    assert ran.code == 3 and "not a regular file" in ran.err


def test_rows_of_a_file_as_numpy_has_them(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b"head" + PIXELS.tobytes())
    rows = FileRows(file, 4, PIXELS.shape, np.uint8)
    assert (rows.shape, rows.ndim, rows.size, rows.nbytes) == (
        PIXELS.shape, PIXELS.ndim, PIXELS.size, PIXELS.nbytes,
    )  # fmt: skip
    for index in (0, 39, -1, np.int64(3), slice(3, 9), slice(0, 0), [4, 5, 6, 2, 2, 39], np.array([7])):
        np.testing.assert_array_equal(np.asarray(rows[index]), PIXELS[index])
    np.testing.assert_array_equal(rows[5:20][np.array([14, 0])], PIXELS[5:20][[14, 0]])
    assert rows[np.array([], np.int64)].shape == (0, *PIXELS.shape[1:])
    for wrong in (40, -41, [0, 40]):
        with pytest.raises(IndexError):
            rows[wrong]


@pytest.mark.parametrize("left", [0, 4, 4 + 3 * 32 * 32 * 5 + 7])
def test_rows_of_a_file_that_is_cut_short_while_in_use(tmp_path: Path, left: int) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b"head" + PIXELS.tobytes())
    rows = FileRows(file, 4, PIXELS.shape, np.uint8)
    os.truncate(file, left)
    for read in (lambda: rows[39], lambda: rows[[2, 9]], lambda: np.asarray(rows)):
        with pytest.raises(DataError, match="cut short"):
            read()


def test_a_cache_that_is_cut_short_while_in_use(lnbench: Lnbench, task: list[str], tmp_path: Path) -> None:
    """By another program, after it was verified: a line, and the next run makes the cache anew."""
    import threading

    from lnbench.evaluate import stream

    cache, once = tmp_path / "cache", threading.Event()
    plain = stream.Stream.labels

    def cutting(self: stream.Stream, positions: np.ndarray) -> object:
        if not once.is_set():
            once.set()
            for file in cache.glob("*.lnstore"):
                os.truncate(file, 5000)
        return plain(self, positions)

    command = ["evaluate", *task, "--norm", "fixed", "--corruption", "fog", "--severity", "1", "--crop", "32",
               "--cache", str(cache), "--out", str(tmp_path / "run")]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream.Stream, "labels", cutting)
        ran = lnbench(*command)
    assert once.is_set() and ran.code == 3 and "cut short" in ran.err
    assert lnbench(*command).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(PIXELS.tobytes())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        FileRows(file, 0, PIXELS.shape, np.uint8)[3:5]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
