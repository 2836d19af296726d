"""Archives of class folders: what the same files give in a folder, and everything a stranger's may hold."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from lnbench.data import archive, encoded
from lnbench.data.decode import Unreadable
from lnbench.data.folder import list_folder
from lnbench.data.loading import open_store
from lnbench.data.specs import listing, parse
from lnbench.data.store import Decoding
from lnbench.data.tree import arrange
from lnbench.errors import DataError
from lnbench.types import Geometry
from tests.data.conftest import pixels
from tests.data.test_folder import TREE

Pack = Callable[[Path, dict[str, bytes]], Path]


def pack_tar(
    path: Path, files: dict[str, bytes], suffix: str = ".tar", mode: Literal["w", "w:gz"] = "w"
) -> Path:
    path = path.with_suffix(suffix)
    with tarfile.open(path, mode) as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.size = len(data)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            packed.addfile(member, io.BytesIO(data))
    return path


def pack_zip(path: Path, files: dict[str, bytes]) -> Path:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def pack_tgz(path: Path, files: dict[str, bytes]) -> Path:
    return pack_tar(path, files, ".tgz", "w:gz")


packed_as = pytest.mark.parametrize("pack", [pack_tar, pack_tgz, pack_zip])


def png(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(index)).save(file, "png")
    return file.getvalue()


def files_of(root: Path, prefix: str = "") -> dict[str, bytes]:
    """Every file below `root` in an order that no one sorted."""
    paths = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.name[::-1])
    return {prefix + path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@packed_as
@pytest.mark.parametrize("prefix", ["", "./", "imagenet-a/", "deep/er/", "data/val/"])
def test_the_same_files_give_the_same_store(
    class_folder: Path, tmp_path: Path, pack: Pack, prefix: str
) -> None:
    (class_folder / "b" / "sub").mkdir()
    (class_folder / "b" / "sub" / "0.png").write_bytes(png(9))
    files = files_of(class_folder, prefix)
    files[f"{prefix}empty/"] = b""
    files[f"{prefix}README.txt"] = files[f"{prefix}a/._0.png"] = b"words"
    (class_folder / "empty").mkdir()
    folder = open_store(parse(str(class_folder)), Decoding(Geometry(36)))
    path = pack(tmp_path / "packed", files)
    store = open_store(parse(str(path)), Decoding(Geometry(36)))
    np.testing.assert_array_equal(store.images, folder.images)
    np.testing.assert_array_equal(store.labels, folder.labels)
    assert (store.fingerprint, store.classes, store.names, store.total) == (
        folder.fingerprint, folder.classes, folder.names, 7,
    )  # fmt: skip
    assert store.part == ("val" if "val" in prefix else "")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["set", path.name])


@settings(deadline=None, max_examples=40)
@given(tree=TREE)
def test_any_tree_has_the_order_it_has_in_a_folder(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[str, list[str], str, str]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for label, folders, name, suffix in [*tree, ("A", [], "x", ".jpg"), ("B", [], "x", ".jpg")]:
        folder = root.joinpath(label, *(f"d{part}" for part in folders))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}{suffix}").touch()
    folder = list_folder(root)
    found = arrange(files_of(root))
    assert found.names == tuple(folder.name(index) for index in range(len(folder.labels)))
    assert (found.classes, found.labels) == (folder.classes, tuple(folder.labels))


@packed_as
def test_of_a_set_with_splits_train_is_never_taken(tmp_path: Path, pack: Pack) -> None:
    files = {f"{split}/{name}/0.png": png(0) for split in ("train", "val") for name in "ab"}
    found = listing(parse(str(pack(tmp_path / "x", {f"set/{name}": files[name] for name in files}))))
    assert (found.part, found.classes, len(found.labels)) == ("val", ("a", "b"), 2)
    assert found.source.endswith(" (set/val/)")
    alone = {name: files[name] for name in files if name.startswith("train")}
    for names in (alone, {f"set/{name}": alone[name] for name in alone}):
        with pytest.raises(DataError, match="a training part alone"):
            listing(parse(str(pack(tmp_path / "train", names))))


@packed_as
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no class folders"),
        (["a.png", "b.png"], "2 images but no class folders"),
        (["a/x.txt", "b/y.gif"], "2 class folders, but no image"),
        (["../a/x.png"], "'../a/x.png', a name that points out of the archive"),
        (["a/../../x.png"], "points out of the archive"),
        (["/etc/a/x.png"], "points out of the archive"),
    ],
)
def test_what_is_no_dataset_is_one_line(tmp_path: Path, pack: Pack, names: list[str], message: str) -> None:
    path = pack(tmp_path / "x", dict.fromkeys(names, b"x"))
    with pytest.raises(DataError, match=message) as caught:
        listing(parse(str(path)))
    assert str(path) in str(caught.value) and str(caught.value).isprintable()


@packed_as
def test_a_truncated_or_damaged_archive_is_one_line_or_an_unreadable_image(
    tmp_path: Path, pack: Pack
) -> None:
    """Cut anywhere and flipped anywhere, no image is missing or other without a word."""
    path = pack(tmp_path / "x", {f"{name}/{n}.png": png(n) for name in "ab" for n in (0, 1)})
    whole = path.read_bytes()
    expected = open_store(parse(str(path)), Decoding())
    end = len(whole.rstrip(b"\0"))
    for cut in (0, 3, 511, 600, end // 2, end - 600, end - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError) as caught:
            open_store(parse(str(path)), Decoding())
        assert str(caught.value).isprintable() and str(path) in str(caught.value)
    for place in range(0, end, 499):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            store = open_store(parse(str(path)), Decoding())
        except DataError as error:
            assert str(error).isprintable()
        else:
            assert len(store.labels) == 4 or store.classes != expected.classes


def test_links_in_a_tar(tmp_path: Path) -> None:
    """Hard links are how tar stores a file that has two names; nothing else leads anywhere."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as packed:
        for name in ("a/0.png", "b/0.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png(0))
            packed.addfile(member, io.BytesIO(png(0)))
        for name, kind, to in [
            ("a/hard.png", tarfile.LNKTYPE, "a/0.png"),
            ("a/itself.png", tarfile.LNKTYPE, "a/itself.png"),
            ("a/passwd.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("a/pipe.png", tarfile.FIFOTYPE, ""),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, to
            packed.addfile(member)
    store = open_store(parse(str(path)), Decoding(skip_unreadable=True))
    assert store.names == ("a/0.png", "a/hard.png", "b/0.png")
    np.testing.assert_array_equal(store.images[0], store.images[1])
    assert dict(store.skipped) == {
        "a/itself.png": "a link to what the archive does not hold",
        "a/passwd.png": "a symbolic link, which is not followed in an archive",
        "a/pipe.png": "not a regular file",
    }


def test_of_two_members_with_one_name_the_later_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as packed:
        for name, data in (("a/0.png", png(0)), ("b/0.png", png(1)), ("./a/0.png", png(2))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    store = open_store(parse(str(path)), Decoding())
    np.testing.assert_array_equal(store.images[0], pixels(2).transpose(2, 0, 1))
    assert len(store.labels) == 2


def test_bombs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "MAX_BYTES", 1 << 20)
    path = pack_zip(tmp_path / "x", {"a/0.png": bytes(64 << 20), "b/0.png": png(0)})
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a/0.png: a file of 64 MiB is no photograph"):
        open_store(parse(str(path)), Decoding())
    # A member that claims to be small is not unpacked any further.
    data = path.read_bytes().replace(struct.pack("<I", 64 << 20), struct.pack("<I", 1000))
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a/0.png: "):
        open_store(parse(str(path)), Decoding())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_tar_header_that_claims_gigabytes(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, 4 << 30
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(member.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(9 << 30)  # a sparse file: it takes no room on the disk
    with pytest.raises(DataError, match="a header beyond reason"):
        listing(parse(f"tar:{tmp_path / 'x.tar'}"))


def test_encrypted_and_unknown_members_say_so(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "x", {"a/0.png": png(0), "b/0.png": png(1)})
    data = bytearray(path.read_bytes())
    first, second = (data.find(b"PK\1\2"), data.rfind(b"PK\1\2"))
    data[first + 8] |= 1
    data[second + 10] = 97  # a compression that no one knows
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"a/0.png: encrypted; b/0.png: "):
        open_store(parse(str(path)), Decoding())


@pytest.mark.parametrize(("suffix", "program"), [("bz2", "bzip2"), ("xz", "xz")])
def test_other_compressed_tars_are_refused_with_what_to_do(tmp_path: Path, suffix: str, program: str) -> None:
    path = tmp_path / f"x.tar.{suffix}"
    with tarfile.open(path, f"w:{suffix}") as packed:
        packed.addfile(tarfile.TarInfo("a"))
    with pytest.raises(DataError, match=rf"unpack it to a \.tar first \({program} -dk\)"):
        listing(parse(str(path)))


def test_an_archive_that_is_gone_when_it_is_read(tmp_path: Path) -> None:
    path = pack_tar(tmp_path / "x", {"a/0.png": png(0)})
    members, fetch = archive.tar_members(path)
    path.unlink()
    with pytest.raises(Unreadable, match="No such file"):
        fetch(members["a/0.png"])
