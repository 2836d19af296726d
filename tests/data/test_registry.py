"""The registry of sources, and the contract of every source in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from lnbench.cli import app
from lnbench.cli.list import _data
from lnbench.data import registry
from lnbench.data.loading import open_store
from lnbench.data.registry import source, sources
from lnbench.data.specs import DataSpec, conditions, parse
from lnbench.data.store import Decoding
from lnbench.errors import DataError, UsageError
from tests.data.conftest import pixels
from tests.data.forms import as_cls, as_hf, as_parquet
from tests.data.test_cifar import write_dataset

ROOT = Path(__file__).parents[2]
EVERY = sorted(sources())
PLACED = [kind for kind in EVERY if "path" in sources()[kind].takes]
CORRUPTED = [kind for kind in EVERY if sources()[kind].conditions is not None]


def write_folder(root: Path) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        Image.fromarray(pixels(len(name))).save(root / name / "0.png")
    return root


def write_images(root: Path) -> Path:
    root.mkdir()
    Image.fromarray(pixels(0)).save(root / "0.png")
    return root


def write_npz(root: Path) -> Path:
    root.mkdir()
    np.savez(root / "x.npz", images=np.stack([pixels(0), pixels(1)]), labels=np.arange(2))
    return root / "x.npz"


def write_arrays(top: int) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        root.mkdir()
        np.save(root / "labels.npy", np.tile([0, top], 5))
        np.save(root / "fog.npy", np.stack([pixels(index, 32, 32) for index in range(10)]))
        return root

    return write


def write_conditions(root: Path) -> Path:
    write_folder(root / "fog" / "3")
    return root


def write_shard(root: Path) -> Path:
    write_folder(root / "set")
    as_cls(root / "set", root)
    return root / "set-000.tar"


def write_parquet(root: Path) -> Path:
    write_folder(root / "set")
    return Path(as_parquet(root / "set", root).partition(":")[2]) / "test-00000-of-00001.parquet"


def write_hf(root: Path) -> Path:
    write_folder(root / "set")
    return Path(as_hf(root / "set", root).partition(":")[2])


def write_list(root: Path) -> Path:
    write_folder(root)
    (root / "x.txt").write_text("a/0.png 0\nb/0.png 1\n")
    return root / "x.txt"


def write_tar(root: Path) -> Path:
    write_folder(root)
    with tarfile.open(root / "x.tar", "w") as archive:
        archive.add(root / "a", "a")
        archive.add(root / "b", "b")
    return root / "x.tar"


def write_zip(root: Path) -> Path:
    write_folder(root)
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for name in ("a/0.png", "b/0.png"):
            archive.write(root / name, name)
    return root / "x.zip"


# A small set of every kind that has a path; a new source adds a line here.
WRITTEN: dict[str, Callable[[Path], Path]] = {
    "folder": write_folder,
    "hf": write_hf,
    "images": write_images,
    "list": write_list,
    "npz": write_npz,
    "parquet": write_parquet,
    "tar": write_tar,
    "wds": write_shard,
    "zip": write_zip,
    "cifar10": lambda root: write_dataset("cifar10", root),
    "cifar100": lambda root: write_dataset("cifar100", root),
    "cifar10-c": write_arrays(9),
    "cifar100-c": write_arrays(99),
    "imagenet-c": write_conditions,
}


@pytest.mark.parametrize("kind", EVERY)
def test_every_spec_is_read_and_printed_back(kind: str) -> None:
    each = sources()[kind]
    place = Path("some/where") if "path" in each.takes else None
    text = kind + (f":{place}" if place else "")
    assert parse(text) == DataSpec(kind, place)
    assert parse(text).note == ""
    assert str(parse(text)) == text
    train = parse(f"{text}:train") if "split" in each.takes else None
    if train is not None:
        assert train == DataSpec(kind, place, "train")
        assert str(train) == f"{text}:train"
        assert parse(f"{text}:test") == parse(text)
    assert parse(text).precomputed == ("condition" in each.takes)


@pytest.mark.parametrize("kind", PLACED)
def test_a_missing_path_is_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"lacks the path: {sources()[kind].usage}")):
        parse(f"{kind}:")
    spec = parse(f"{kind}:{tmp_path}/nowhere")
    with pytest.raises(DataError, match=r"(?i)no such") as caught:
        if spec.precomputed:
            conditions(spec)
        else:
            open_store(spec, Decoding())
    assert str(caught.value).isprintable() and "nowhere" in str(caught.value)


@pytest.mark.parametrize("kind", PLACED)
def test_a_bare_path_of_its_layout_is_taken_for_it_and_opens(kind: str, tmp_path: Path) -> None:
    path = WRITTEN[kind](tmp_path / "set")
    spec = parse(str(path))
    assert spec == DataSpec(kind, path)
    assert spec.note == f"took {path} for {sources()[kind].about} ({kind}:{path})"
    assert parse(str(spec)) == spec
    store = open_store(spec, Decoding(), conditions(spec)[0] if spec.precomputed else None)
    assert store.source.startswith(f"{kind}:{path}")
    assert len(store.labels) > 0


@pytest.mark.parametrize("kind", CORRUPTED)
def test_an_empty_folder_holds_no_conditions_and_the_layout_is_told(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no conditions|no labels\.npy"):
        conditions(parse(f"{kind}:{tmp_path}"))
    np.save(tmp_path / "labels.npy", np.zeros(5, int))
    with pytest.raises(DataError) as caught:
        conditions(parse(f"{kind}:{tmp_path}"))
    assert str(caught.value).endswith(f"holds no conditions; its layout should be {sources()[kind].layout}")


@pytest.mark.parametrize("kind", EVERY)
def test_it_is_named_wherever_kinds_are_named(kind: str) -> None:
    each = sources()[kind]
    assert each.about
    commands: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    [data] = [param.help for param in commands["evaluate"].params if param.name == "data"]
    assert each.usage in data
    [clean] = [param.help for param in commands["corrupt-export"].params if param.name == "data"]
    assert (each.usage in clean) == (each.conditions is None)
    assert (each.usage, each.about) in _data()
    layout = f"`{each.layout}`" if each.layout else ""
    assert f"| `{each.usage}` | {each.about} | {layout} |" in (ROOT / "docs" / "data.md").read_text("utf-8")
    [row] = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "| **data** |" in line]
    assert f"`{kind}:`" in row or f"`{kind}`" in row


def test_asking_for_the_sources_loads_nothing_heavy() -> None:
    code = (
        "import sys; from lnbench.data.registry import usages; usages(corrupted=True);"
        "print(sorted({'numpy', 'torch', 'PIL', 'tarfile', 'zipfile'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_duplicates_raise_and_unknown_kinds_suggest_near_ones() -> None:
    with pytest.raises(ValueError, match="'npz' is registered twice"):
        source("npz", about="another")(lambda path: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="unknown kind of data 'npy': did you mean npz"):
        registry.find("npy")
