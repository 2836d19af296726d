"""Parquet files and data sets of `datasets`: columns, splits, memory, and what is damaged or missing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from lnbench import hub
from lnbench.data import arrow, registry
from lnbench.data.loading import open_store
from lnbench.data.sources.hf import parts
from lnbench.data.specs import listing, parse
from lnbench.data.store import Decoding
from lnbench.errors import DataError
from tests.data.forms import as_hf, as_hf_numbers, as_parquet, rows
from tests.data.test_archives import png


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def one(path: Path, **columns: Any) -> Path:
    return write(path, **{"image": [png(0), png(1)], "label": [0, 1], **columns})


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ({"image": [png(0)], "label": [3], "id": [7], "wnid": ["n01"]}, [3]),
        ({"photo": [png(0)], "number": [3]}, [3]),
        ({"image": [png(0)], "thumb": [b""], "class_name": ["x"], "wnid": ["n01"]}, [0]),
        ({"image": [{"bytes": png(0), "path": None}], "label": pa.array(["n01"]).dictionary_encode()}, [0]),
        ({"image": pa.array([png(0)], pa.large_binary()), "label": pa.array([2], pa.int8())}, [2]),
    ],
)
def test_columns_are_found(tmp_path: Path, columns: dict[str, Any], labels: list[int]) -> None:
    store = open_store(parse(f"parquet:{write(tmp_path / 'x.parquet', **columns)}"), Decoding())
    assert store.labels.tolist() == labels


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["a path"], "label": [1]}, "no column of images .* among image: string, label: int64"),
        ({"a": [b"x"], "b": [b"x"], "label": [1]}, "no column of images"),
        ({"image": [b"x"], "score": [0.5]}, "no column of labels"),
        ({"image": [b"x"], "x": [1], "y": [1]}, "no column of labels"),
        ({"image": [b"x", b"x"], "label": [1, None]}, "row 1 has no label"),
        ({"image": [b"x"], "label": [-1]}, "label -1 lies outside"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "holds no images"),
    ],
)
def test_what_is_no_set_of_images_is_one_line(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "x.parquet", **columns)
    with pytest.raises(DataError, match=message) as caught:
        listing(parse(f"parquet:{path}"))
    assert str(caught.value).isprintable() and str(path) in str(caught.value)


def test_rows_without_an_image_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "beside.png").write_bytes(png(2))
    cells = [
        {"bytes": png(0), "path": "x"},
        {"bytes": None, "path": str(tmp_path / "beside.png")},  # what `datasets` writes of local files
        {"bytes": None, "path": "beside.png"},
        {"bytes": b"", "path": None},
        None,
    ]
    path = write(tmp_path / "x.parquet", image=cells, label=[0, 1, 2, 3, 4])
    store = open_store(parse(f"parquet:{path}"), Decoding(skip_unreadable=True))
    assert store.labels.tolist() == [0, 1]
    assert [reason for _, reason in store.skipped] == [
        "no image in this row",
        "empty file",
        "no image in this row",
    ]


def test_of_files_by_split_the_evaluation_part_is_taken(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        for number in range(2):
            one(tmp_path / "data" / f"{split}-0000{number}-of-00002.parquet")
    found = listing(parse(str(tmp_path)))
    assert (found.source, found.part) == (f"parquet:{tmp_path} (validation)", "validation")
    assert len(found.labels) == 4
    for path in (tmp_path / "data").glob("[vt]*a[li]*"):
        if not path.name.startswith("train"):
            path.unlink()
    for path in (tmp_path / "data").glob("test*"):
        path.unlink()
    with pytest.raises(DataError, match=r"a training part alone; if that is meant, write .*/\*\.parquet"):
        listing(parse(str(tmp_path)))
    found = listing(parse(f"parquet:{tmp_path}/data/*.parquet"))
    assert (len(found.labels), found.part) == (4, "")
    one(tmp_path / "folders" / "train" / "0.parquet")
    one(tmp_path / "folders" / "test" / "0.parquet", label=[5, 5])
    found = listing(parse(f"parquet:{tmp_path}/folders"))
    assert (found.labels.tolist(), found.part) == ([5, 5], "test")


def test_damaged_files(tmp_path: Path, class_folder: Path) -> None:
    path = one(tmp_path / "x.parquet")
    whole = path.read_bytes()
    for content in (b"", whole[:40], whole[:-9], b"PAR1" * 9):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.parquet: no readable parquet file"):
            listing(parse(f"parquet:{path}"))
    path.write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(DataError, match=r"damaged near row 0|cannot be read") as caught:
        open_store(parse(f"parquet:{path}"), Decoding())
    assert str(caught.value).isprintable()
    one(tmp_path / "a" / "0.parquet")
    one(tmp_path / "a" / "1.parquet", label=["x", "y"])
    with pytest.raises(DataError, match=r"numbers .0. and names"):
        listing(parse(f"parquet:{tmp_path / 'a'}"))
    write(tmp_path / "a" / "1.parquet", photo=[b"x"], label=[1])
    with pytest.raises(DataError, match=r"1\.parquet: has other columns or classes than 0\.parquet"):
        listing(parse(f"parquet:{tmp_path / 'a'}"))


def test_a_large_row_group_is_read_in_small_parts_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [np.random.default_rng(n).bytes(1 << 19) for n in range(120)]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": data}), path, write_batch_size=4)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    monkeypatch.setattr(arrow, "_KEPT", 3)
    opened: list[Path] = []
    made = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda file, **how: opened.append(file) or made(file, **how))
    cells = arrow.Cells([path], [120], "image")
    before = pa.total_allocated_bytes()
    most = 0
    for index in range(120):
        assert cells.at(index) == data[index]
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 24 << 20  # of 60 MiB
    assert len(opened) == 1
    for index in (5, 119, 0, 118):  # back, and far ahead
        assert cells.at(index) == data[index]


def test_row_groups_and_files_in_any_order_from_any_thread(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        table = pa.table({"image": [bytes([number, row]) for row in range(25)]})
        files.append(tmp_path / f"{number}.parquet")
        pq.write_table(table, files[-1], row_group_size=10)
    cells = arrow.Cells(files, [25] * 3, "image")
    wrong: list[int] = []

    def work(seed: int) -> None:
        for index in np.random.default_rng(seed).permutation(75).tolist():
            if cells.at(index) != bytes([index // 25, index % 25]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_splits_of_a_saved_set(class_folder: Path, tmp_path: Path) -> None:
    spec = as_hf(class_folder, tmp_path)
    found = listing(parse(spec))
    assert (found.part, len(found.labels)) == ("validation", 6)
    assert found.source == f"{spec} (validation)"
    found = listing(parse(f"{spec}:train"))
    assert (found.part, len(found.labels)) == ("", 1)
    with pytest.raises(DataError, match="no split 'tset' among train, validation"):
        listing(parse(f"{spec}:tset"))
    datasets.DatasetDict({"train": rows(class_folder)}).save_to_disk(tmp_path / "training")
    with pytest.raises(DataError, match="say which of its splits is meant, with :SPLIT: train"):
        listing(parse(f"hf:{tmp_path / 'training'}"))
    plain = as_hf_numbers(class_folder, tmp_path)
    with pytest.raises(DataError, match="has no splits"):
        listing(parse(f"{plain}:test"))


def test_a_folder_of_files_that_datasets_reads(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone of a repository of the hub: its parquet files, by split."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    as_parquet(class_folder, tmp_path)
    (tmp_path / "clone").mkdir()
    for path in tmp_path.glob("*.parquet"):
        path.rename(tmp_path / "clone" / path.name)
    store = open_store(parse(f"hf:{tmp_path / 'clone'}"), Decoding())
    assert (store.part, store.classes) == ("test", ("a", "b", "c"))
    assert store.fingerprint == open_store(parse(f"folder:{class_folder}"), Decoding()).fingerprint


def test_names_revisions_and_splits(tmp_path: Path) -> None:
    assert parts("org/name") == ("org/name", None, "")
    assert parts("org/name@v1.0:test") == ("org/name", "v1.0", "test")
    assert parts("org/name@refs/pr/3") == ("org/name", "refs/pr/3", "")
    assert parts("mnist:train") == ("mnist", None, "train")
    odd = tmp_path / "a@b:c"
    odd.mkdir()
    assert parts(str(odd)) == (str(odd), None, "")
    assert parts(f"{odd}:test") == (str(odd), None, "test")


def test_what_the_hub_cannot_give_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> list[str]:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "get_dataset_split_names", offline)
    monkeypatch.setattr(hub, "reachable", lambda url: True)
    with pytest.raises(DataError, match="hf:org/name: cannot be loaded: no network"):
        listing(parse("hf:org/name"))


def test_without_a_connection_only_the_cache_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not after as many tries as the hub's client has patience for; and it is left as it was."""
    monkeypatch.setattr(hub, "reachable", lambda url: False)
    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    with pytest.raises(DataError, match=r"org/name: is not in the cache of datasets, and there is no conn"):
        listing(parse("hf:org/name"))
    assert before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_without_the_packages_it_says_what_to_install(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=rf"{kind}: needs the package \w+: pip install 'lnbench\[hf\]'"):
        listing(parse(f"{kind}:x"))
