"""Checkpoints from strangers: damaged by chance or by intent, they end in one clear error or in good weights.

Mutations are drawn by hypothesis over the three formats; the traps that could kill a process by its memory or
its stack are opened in a process of their own.
"""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from lnbench.errors import CheckpointError
from lnbench.models.checkpoint import classes_in, fit, read, write

ROOT = Path(__file__).parents[2]


def network() -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 1), bn=nn.BatchNorm2d(2), fc=nn.Linear(2, 3)))


def seed_file(kind: str) -> bytes:
    state = {f"module.{name}": torch.ones_like(value) for name, value in network().state_dict().items()}
    stream = io.BytesIO()
    body = {"state_dict": state, "epoch": 3, "optimizer": {"lr": [0.1, (1, 2)]}}
    if kind == "safetensors":
        return safetensors.torch.save(state, {"format": "pt"})
    torch.save(body, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


SEEDS = {kind: seed_file(kind) for kind in ("zip", "legacy", "safetensors")}
# Bytes that mean something to a pickle, and lengths.
TELLING = [0x00, 0x7F, 0x80, 0xFF, *b"}](c0.N2KMJXRtbsuqhrjQ", 0x81, 0x85, 0x86, 0x87, 0x88]

Edit = tuple[str, float, int, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "delete", "insert", "copy", "cut"]),
        st.floats(0, 1),
        st.sampled_from(TELLING) | st.integers(0, 255),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=6,
)


def mutated(content: bytes, edits: list[Edit], early: bool) -> bytes:
    """`content` after the edits; `early` places them in the first 1,500 bytes: pickles and headers."""
    data = bytearray(content)
    for action, where, value, length in edits:
        at = int(where * (min(len(data), 1500 if early else len(data)) - 1)) if data else 0
        if action == "set" and data:
            data[at] = value
        elif action == "flip" and data:
            data[at] ^= 1 << value % 8
        elif action == "delete":
            del data[at : at + length]
        elif action == "insert":
            data[at:at] = bytes([value]) * length
        elif action == "copy":
            data[at:at] = data[value : value + length]
        elif action == "cut":
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, early=st.booleans())
@example(edits=[("cut", 0.0, 0, 1)], early=False)
@example(edits=[("cut", 0.5, 0, 1)], early=False)
def test_a_mutated_file_gives_weights_or_one_clear_error(
    tmp_path: Path, kind: str, edits: list[Edit], early: bool
) -> None:
    path = tmp_path / ("net.safetensors" if kind == "safetensors" else "net.pth")
    path.write_bytes(mutated(SEEDS[kind], edits, early))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read(path)
            target = network()
            classes_in(found, target)
            fit(target, found)
    except CheckpointError as error:
        lines = str(error).splitlines()
        assert lines[0].startswith(str(path))
        assert len(lines) <= 12
        assert all(line.isprintable() for line in lines)
        return
    assert all(bool(torch.isfinite(value).all()) for value in target.state_dict().values())
    # What was accepted can be written and read again, in both formats.
    for name in ("again.pth", "again.safetensors"):
        write(tmp_path / name, found.tensors, extras=found.extras, metadata=found.metadata)
        assert read(tmp_path / name).tensors.keys() == found.tensors.keys()


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def zip_of(pickled: bytes, data: bytes = b"") -> bytes:
    """A torch.save archive around a hand-made pickle, with one storage of 4 bytes or `data`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + pickled)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/data/0", data or bytes(4))
    return stream.getvalue()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def tensor(size: int, stride: int, numel: int = 1) -> bytes:
    """The pickle of a float tensor on storage 0."""
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(numel) + b"tQ"
    )
    arguments = storage + number(0) + number(size) + b"\x85" + number(stride) + b"\x85\x89N"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def entry(value: bytes) -> bytes:
    return b"}" + text("w") + value + b"s."


def legacy_of(pickled: bytes) -> bytes:
    start = SEEDS["legacy"].index(b"\x80\x02}q\x00(X\n\x00\x00\x00state_dict")
    return SEEDS["legacy"][:start] + b"\x80\x02" + pickled + b"\x80\x02]" + text("0") + b"a." + bytes(12)


HUGE = 10**13
TRAPS = {
    "a million nested tuples as a key": zip_of(b"}" + b")" + b"\x85" * 1_000_000 + b"K\x01s."),
    "a key that takes 2^60 steps to hash": zip_of(b"}" + b")" + (b"q\x00h\x00\x86") * 60 + b"K\x01s."),
    "a bytearray of terabytes": zip_of(entry(b"cbuiltins\nbytearray\n" + number(HUGE) + b"\x85R")),
    "a broadcast of terabytes": zip_of(entry(tensor(HUGE, 0))),
    "a set of a broadcast's values": zip_of(entry(b"cbuiltins\nset\n" + tensor(HUGE, 0) + b"\x85R")),
    "a size beyond the storage": zip_of(entry(tensor(HUGE, 1))),
    "a negative size": zip_of(entry(tensor(-5, 1))),
    "a storage of terabytes": zip_of(entry(tensor(1, 1, numel=HUGE))),
    "an old storage of terabytes": legacy_of(entry(tensor(1, 1, numel=HUGE))),
    "an old storage of less than nothing": legacy_of(entry(tensor(1, 1, numel=-HUGE))),
    "a text of 4 GB": legacy_of(b"}X\xff\xff\xff\xff"),
    "deeply nested lists": zip_of(b"]" * 200_000 + b"a" * 199_999 + b"."),
    "deeply nested marks": zip_of(b"(" * 200_000 + b"."),
    "a header of exabytes": (1 << 62).to_bytes(8, "little") + b"{" + bytes(64),
    "a header of nested lists": (90_000).to_bytes(8, "little") + b"{" + b"[" * 89_999,
}


def test_traps_neither_crash_nor_hang_nor_fill_the_memory(tmp_path: Path) -> None:
    for index, content in enumerate(TRAPS.values()):
        (tmp_path / f"{index}.pth").write_bytes(content)
    program = """
        import resource, sys
        from pathlib import Path
        from lnbench.errors import CheckpointError
        from lnbench.models.checkpoint import read
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for index in range(int(sys.argv[2])):
            try:
                read(Path(sys.argv[1]) / f"{index}.pth")
            except CheckpointError as error:
                assert len(str(error).splitlines()) == 1, error
            else:
                sys.exit(f"{index} was accepted")
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(index, grown // 1024, flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), str(len(TRAPS))],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    reached = [line.split() for line in done.stdout.splitlines()]
    names = list(TRAPS)
    assert done.returncode == 0, (
        names[len(reached)] if len(reached) < len(names) else "",
        done.stderr[-500:],
    )
    assert len(reached) == len(names)
    # The walk over a million opcodes takes some 100 MiB; a trap that springs takes gigabytes.
    for name, (_, grown) in zip(names, reached, strict=True):
        assert int(grown) < 400, name
