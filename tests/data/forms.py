"""One set of class folders in every form that holds the same files."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value

from lnbench.data.folder import list_folder

# A form is written to a folder of its own and gives the spec that reads it.
Form = Callable[[Path, Path], str]


def members(root: Path) -> list[tuple[str, str, int]]:
    """Name, class and label of each image, in the order of its folder."""
    listing = list_folder(root)
    labels = [int(label) for label in listing.labels]
    return [(listing.name(k), listing.classes[label], label) for k, label in enumerate(labels)]


def as_zip(root: Path, out: Path) -> str:
    with zipfile.ZipFile(out / "set.zip", "w") as archive:
        for name, _, _ in reversed(members(root)):
            archive.write(root / name, name)
    return f"zip:{out / 'set.zip'}"


def as_tar(root: Path, out: Path) -> str:
    with tarfile.open(out / "set.tar", "w") as archive:
        for name, _, _ in reversed(members(root)):
            archive.add(root / name, f"./wrapped/{name}")
    return f"tar:{out / 'set.tar'}"


def as_tgz(root: Path, out: Path) -> str:
    with tarfile.open(out / "set.tgz", "w:gz") as archive:
        archive.add(root, "wrapped")
    return str(out / "set.tgz")


def as_list(root: Path, out: Path) -> str:
    (root / "set.txt").write_text("".join(f"{name} {kind}\n" for name, kind, _ in members(root)))
    return f"list:{root / 'set.txt'}"


def as_csv(root: Path, out: Path) -> str:
    rows = "".join(f'{label},"{root / name}",x\n' for name, _, label in members(root))
    (out / "set.csv").write_text(f"label,path,more\n{rows}")
    return f"list:{out / 'set.csv'}"


def write_shards(root: Path, out: Path, suffix: str, text: Callable[[str, int], str]) -> str:
    """Two shards; the samples are numbered on, their images keep their own suffix."""
    every = members(root)
    for shard, part in enumerate((every[: len(every) // 2], every[len(every) // 2 :])):
        with tarfile.open(out / f"set-{shard:03d}.tar", "w") as archive:
            for number, (name, kind, label) in enumerate(part):
                key = f"{shard}{number:04d}"
                archive.add(root / name, f"{key}.{Path(name).name.partition('.')[2]}")
                data = text(kind, label).encode()
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return f"wds:{out / 'set-{000..001}.tar'}"


def as_cls(root: Path, out: Path) -> str:
    return write_shards(root, out, "cls", lambda kind, label: str(label))


def as_json(root: Path, out: Path) -> str:
    return write_shards(root, out, "json", lambda kind, label: json.dumps({"label": label, "wnid": kind}))


def as_wnids(root: Path, out: Path) -> str:
    return write_shards(root, out, "json", lambda kind, label: json.dumps({"width": 3, "wnid": kind}))


def rows(root: Path) -> Dataset:
    """What `datasets` makes of the files: their bytes, labels and the classes' names."""
    listed = members(root)
    names = list_folder(root).classes
    features = Features(
        {"image": datasets.Image(), "label": ClassLabel(names=list(names)), "wnid": Value("string")}
    )
    columns = {
        "image": [{"bytes": (root / name).read_bytes(), "path": name} for name, _, _ in listed],
        "label": [label for _, _, label in listed],
        "wnid": [kind for _, kind, _ in listed],
    }
    return Dataset.from_dict(columns, features=features)


def as_parquet(root: Path, out: Path) -> str:
    """Two files, of a training and a test part, of which one is to be read."""
    rows(root).to_parquet(out / "test-00000-of-00001.parquet", batch_size=4)
    rows(root).select([0]).to_parquet(out / "train-00000-of-00001.parquet")
    return f"parquet:{out}"


def as_wnid_files(root: Path, out: Path) -> str:
    """Two files of bare bytes and names, without a note on the classes."""
    listed = members(root)
    for number, part in enumerate((listed[: len(listed) // 2], listed[len(listed) // 2 :])):
        table = pa.table({"img": [(root / name).read_bytes() for name, _, _ in part],
                          "id": list(range(len(part))), "wnid": [kind for _, kind, _ in part]})  # fmt: skip
        pq.write_table(table, out / f"part-{number}.parquet")
    return f"parquet:{out / 'part-*.parquet'}"


def as_hf(root: Path, out: Path) -> str:
    datasets.DatasetDict({"train": rows(root).select([0]), "validation": rows(root)}).save_to_disk(
        out / "saved"
    )
    return f"hf:{out / 'saved'}"


def as_hf_numbers(root: Path, out: Path) -> str:
    rows(root).cast_column("label", Value("int32")).save_to_disk(out / "plain")
    return f"hf:{out / 'plain'}"


# Those that keep the names of the classes, and those that keep the numbers of the labels alone.
NAMED: dict[str, Form] = {
    "zip": as_zip,
    "tar": as_tar,
    "tgz": as_tgz,
    "list": as_list,
    "wds of names": as_wnids,
    "parquet": as_parquet,
    "parquet of names": as_wnid_files,
    "hf": as_hf,
}
NUMBERED: dict[str, Form] = {
    "list of numbers": as_csv,
    "wds": as_cls,
    "wds of json": as_json,
    "hf of numbers": as_hf_numbers,
}
EVERY = NAMED | NUMBERED
