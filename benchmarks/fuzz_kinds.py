"""What strangers may hand in, damaged or invented: each function makes a case by chance and hands it in.

A function returns what was taken, or raises a LnbenchError of one line. `READERS` has them all;
`fuzz_commands` has the commands.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from lnbench.cli import values
from lnbench.config import load_models, load_preset, parse_shard
from lnbench.data import order, specs
from lnbench.data.cifar_pickle import read_pickle
from lnbench.data.class_file import read_class_map, read_classes
from lnbench.data.decode import Unreadable, decode
from lnbench.errors import CheckpointError, LnbenchError
from lnbench.models import catalog, checkpoint
from lnbench.norm import sweep
from lnbench.norm.modes import registry as modes
from lnbench.results import choice, publish, rules
from lnbench.results.compare import compare
from lnbench.results.correct import read_correct
from lnbench.results.reading import document, read, record_bytes, sealed
from lnbench.results.render.delimited import to_csv
from lnbench.results.render.junit import to_junit
from lnbench.results.render.latex import to_latex
from lnbench.results.render.markdown import comparison_to_markdown, to_markdown
from lnbench.results.render.terminal import to_text
from lnbench.results.store import RunFolder, make_record
from lnbench.types import Condition
from tests.results.samples import labels, make_cells, make_run

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
    to_text([found]), to_csv([found]), to_markdown([found]), to_latex([found])
    changed = compare(RECORD, found, rules=[rules.parse("top1:-1pp")], allow_mismatch=True)
    comparison_to_markdown(changed), to_junit(changed)


def record_bytes_damaged(folder: Path, chance: random.Random) -> None:
    (folder / "results.json").write_bytes(damaged(record_bytes(RECORD), chance))
    read_correct(folder, read(folder))


@cache
def finished() -> dict[str, bytes]:
    """The files of a finished run, but for the page."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with RunFolder.create_or_resume(run, RUN) as opened:
            opened.append(make_cells(RUN))
            opened.finish(labels=labels(RUN), ids=np.arange(RUN.data.images))
        return {file.name: file.read_bytes() for file in run.iterdir() if file.suffix != ".html"}


def run_folder(folder: Path, chance: random.Random) -> None:
    """A run folder with a damaged, cut or foreign file: shown, compared with itself, and gone on with."""
    run = folder / "run"
    run.mkdir()
    content = dict(finished())
    if chance.random() < 0.5:
        content = {name: content[name] for name in ("run.json", "cells.jsonl")}
        content["cells.jsonl"] = b"".join(content["cells.jsonl"].splitlines(keepends=True)[:3])
    name = chance.choice(sorted(content))
    content[name] = damaged(content[name], chance)
    for each, data in content.items():
        (run / each).write_bytes(data)
    if "results.json" in content:
        loaded = publish.load([run])
        publish.FORMATS[chance.choice(("txt", "md", "tex", "csv", "json"))](loaded)
        compare(loaded.records[0], RECORD, loaded.correct[0], None, allow_mismatch=True)
    RunFolder.create_or_resume(run, RUN, fresh=chance.random() < 0.2).close()


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


@cache
def pictures() -> tuple[tuple[str, bytes], ...]:
    """A small picture in every format."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    found = []
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif"),
                         ("WEBP", "webp"), ("PPM", "ppm")):  # fmt: skip
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        found.append((suffix, stream.getvalue()))
    return tuple(found)


def image(_: Path, chance: random.Random) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as `ready` has it
            decode(damaged(chance.choice(pictures())[1], chance))
    except Unreadable as error:
        raise LnbenchError(str(error)) from None


@cache
def weights() -> tuple[bytes, ...]:
    """The same weights in the three formats."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 3))
    state = network.state_dict()
    found = [safetensors.torch.save(dict(state), {"format": "pt"})]
    for new in (True, False):
        stream = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, stream, _use_new_zipfile_serialization=new)
        found.append(stream.getvalue())
    return tuple(found)


def weights_file(folder: Path, chance: random.Random) -> None:
    """A checkpoint; what differs from the network is told in a few more lines."""
    file = folder / "net.pth"
    file.write_bytes(damaged(chance.choice(weights()), chance))
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 3))
    try:
        checkpoint.fit(network, checkpoint.read(file))
    except CheckpointError as error:
        if str(error).count("\n") > 9:
            raise
        raise LnbenchError(str(error).split("\n")[0]) from None


def listed(spec: str, condition: Condition | None = None) -> None:
    """List a data set and read its first and last image."""
    found = specs.listing(specs.parse(spec), condition)
    for index in {0, len(found.labels) - 1}:
        try:
            found.read(index), found.digest(index)
        except Unreadable as error:
            raise LnbenchError(str(error)) from None


PIXELS = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def arrays(folder: Path, chance: random.Random) -> None:
    """An npz, or the arrays of a CIFAR-C set."""
    stream = io.BytesIO()
    if chance.random() < 0.5:
        save = np.savez if chance.random() < 0.5 else np.savez_compressed
        save(stream, images=PIXELS, labels=np.arange(5))
        (folder / "x.npz").write_bytes(damaged(stream.getvalue(), chance))
        listed(f"npz:{folder / 'x.npz'}")
        return
    np.save(stream, np.repeat(PIXELS, 5, 0))
    broken = chance.choice(("fog.npy", "labels.npy"))
    for name, data in (("fog.npy", stream.getvalue()), ("labels.npy", b"")):
        if name == "labels.npy":
            stream = io.BytesIO()
            np.save(stream, np.tile(np.arange(5), 5))
            data = stream.getvalue()
        (folder / name).write_bytes(damaged(data, chance) if name == broken else data)
    specs.conditions(specs.parse(f"cifar10-c:{folder}"))
    listed(f"cifar10-c:{folder}", Condition("fog", 3))


def archive(folder: Path, chance: random.Random) -> None:
    """A zip or tar of class folders, packed or not, or a webdataset shard."""
    members = {
        f"{'ab'[number % 2]}/{number}.{suffix}": data for number, (suffix, data) in enumerate(pictures())
    }
    kind = chance.choice(("zip", "tar", "tgz", "wds"))
    if kind == "wds":
        members = {f"{n}.{s}": data for n, (s, data) in enumerate(pictures()) if s in ("jpg", "png", "webp")}
        members |= {f"{name.partition('.')[0]}.cls": b"1" for name in list(members)}
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", chance.choice((0, 8))) as packed:
            for name, data in members.items():
                packed.writestr(name, data)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if kind == "tgz" else "w") as tape:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tape.addfile(info, io.BytesIO(data))
    file = folder / ("x.zip" if kind == "zip" else "x.tgz" if kind == "tgz" else "x.tar")
    file.write_bytes(damaged(stream.getvalue(), chance))
    bare = chance.random() < 0.2
    listed(str(file) if bare else f"{'tar' if kind == 'tgz' else kind}:{file}")


def table(folder: Path, chance: random.Random) -> None:
    """A parquet file of images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    rows = {"image": [data for _, data in pictures()], "label": list(range(len(pictures())))}
    pq.write_table(pa.table(rows), stream)
    (folder / "x.parquet").write_bytes(damaged(stream.getvalue(), chance))
    listed(f"parquet:{folder / 'x.parquet'}")


def text_file(folder: Path, chance: random.Random) -> None:
    """A list of images, a class map, names of classes, or a choice of a mode."""
    (folder / "a.png").write_bytes(pictures()[1][1])
    texts: tuple[tuple[str, bytes, Callable[[Path], object]], ...] = (
        ("x.txt", b"a.png 0\na.png\t1\n", lambda path: listed(f"list:{path}")),
        ("x.csv", b"path,label\na.png,cat\n", lambda path: listed(f"list:{path}")),
        ("m.yaml", b"cat: 3\ndog: [n01440764, tench]\n", read_class_map),
        ("m.json", b'{"combine": "mean", "classes": {"cat": [1, 2], "dog": "tench"}}', read_class_map),
        ("m.csv", b"label,output\ncat,3\ndog,tench\n", read_class_map),
        ("c.txt", b"cat\ndog\n", read_classes), ("c.json", b'["cat", "dog"]', read_classes),
        ("chosen.json", b'{"schema": 1, "modes": ["fixed"], "figures": []}', choice.read),
    )  # fmt: skip
    name, content, reader = chance.choice(texts)
    (folder / name).write_bytes(damaged(content, chance))
    reader(folder / name)


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
        lambda: values.whole_numbers("--group-images", text), lambda: sweep.expand(text),
        lambda: order.parse(text), lambda: values.named("--shift", [text]), lambda: parse_shard(text),
        lambda: values.modes([text], modes.names()), lambda: specs.parse(text),
    )  # fmt: skip
    chance.choice(calls)()


READERS = (
    record, record_bytes_damaged, run_folder, preset, models, batch, option, image, weights_file, arrays,
    archive, table, text_file,
)  # fmt: skip
