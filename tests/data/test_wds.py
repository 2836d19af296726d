"""Webdataset shards: which files are one sample, patterns of shards, and what is damaged."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from lnbench.data.loading import open_store
from lnbench.data.sources.wds import expand
from lnbench.data.specs import listing, parse
from lnbench.data.store import Decoding
from lnbench.errors import DataError, UsageError
from tests.data.forms import as_cls
from tests.data.test_archives import pack_tar, png


def test_patterns() -> None:
    assert list(expand("a.tar")) == [Path("a.tar")]
    assert [path.name for path in expand("s-{008..011}.tar")] == [f"s-{n:03d}.tar" for n in range(8, 12)]
    assert [path.name for path in expand("s-{8..11}.tar")] == [f"s-{n}.tar" for n in range(8, 12)]
    assert [str(path) for path in expand("{0..1}/{0..1}")] == ["0/0", "0/1", "1/0", "1/1"]
    for wrong in ("{3..1}", "{0..999999999}"):
        with pytest.raises(UsageError, match="no range of shards"):
            list(expand(wrong))


def test_samples_as_other_tools_write_them(tmp_path: Path) -> None:
    """With folders, several dots (CCC's input.jpg), upper case, both label files, and a note on the shard."""
    path = pack_tar(
        tmp_path / "x",
        {
            "meta.json": b"[]",
            "dir/": b"",
            "dir/000.input.PNG": png(0),
            "dir/000.output.cls": b"7\n",
            "dir/001.png": png(1),
            "dir/001.json": b'{"label": 9}',
            "dir/001.cls": b"3",
            "other/001.cls": b"5",
            "other/001.txt": b"a caption",
            "other/001.webp": png(2),
        },
    )
    store = open_store(parse(f"wds:{path}"), Decoding())
    assert store.labels.tolist() == [7, 3, 5]
    assert store.names == ("dir/000.input.PNG", "dir/001.png", "other/001.webp")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no images"),
        ({"0.txt": b""}, "holds no images"),
        ({"0.png": b""}, r"sample '0' has no label \(cls or json\)"),
        ({"0.png": b"", "0.jpg": b"", "0.cls": b"1"}, "sample '0' has several images"),
        ({"0.png": b"", "0.cls": b""}, "'0.cls' holds no label: a whole number or a name"),
        ({"0.png": b"", "0.cls": b"\xff"}, "'0.cls' holds no label"),
        ({"0.png": b"", "0.json": b"{"}, "'0.json' holds no label"),
        ({"0.png": b"", "0.json": b"[1]"}, "'0.json' holds no label"),
        ({"0.png": b"", "0.json": b'{"label": 1.5}'}, "'0.json' holds no label"),
        ({"0.png": b"", "0.json": b"[" * 100_000}, "'0.json' holds no label"),
        ({"0.png": b"", "0.cls": b"1", "1.png": b"", "1.cls": b"n01"}, "numbers .1. and names"),
        ({"0.png": b"", "0.cls": b"x" * (2 << 20)}, "'0.cls' holds no label"),
    ],
)
def test_what_is_no_sample_is_one_line(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    path = pack_tar(tmp_path / "x", files)
    with pytest.raises(DataError, match=message) as caught:
        listing(parse(f"wds:{path}"))
    assert str(caught.value).isprintable() and str(path) in str(caught.value)


def test_a_missing_and_a_truncated_shard_are_named(class_folder: Path, tmp_path: Path) -> None:
    spec = as_cls(class_folder, tmp_path)
    second = tmp_path / "set-001.tar"
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match=r"set-001\.tar: no readable tar archive .*is it whole\?"):
        listing(parse(spec))
    second.unlink()
    with pytest.raises(DataError, match=r"set-001\.tar: no such file"):
        listing(parse(spec))


def test_a_tar_of_class_folders_is_no_shard(class_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(class_folder, "")
    assert parse(str(tmp_path / "x.tar")).kind == "tar"
