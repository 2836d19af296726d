"""Class folders: ImageFolder's order and labels, and everything that can lie in a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

from lnbench.data.decode import Unreadable
from lnbench.data.folder import list_folder, read_file
from lnbench.data.store import Listing
from lnbench.errors import DataError
from tests.data.conftest import pixels


def names(listing: Listing) -> list[str]:
    return [listing.name(index) for index in range(len(listing.labels))]


def assert_like_torchvision(root: Path) -> None:
    listing, oracle = list_folder(root), ImageFolder(str(root), allow_empty=True)
    assert list(listing.classes) == oracle.classes
    assert [str(root / name) for name in names(listing)] == [path for path, _ in oracle.samples]
    assert listing.labels.tolist() == oracle.targets


def test_photographs(photographs: Path) -> None:
    assert_like_torchvision(photographs)
    listing = list_folder(photographs)
    assert len(listing.classes) == 48
    for index in (0, 17, 47):
        picture, digest = listing.read(index)
        path = photographs / listing.name(index)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(Image.open(path).convert("RGB")))
        assert digest == hashlib.sha256(path.read_bytes()).digest()


def test_cifar_folder(cifar_jpegs: Path) -> None:
    assert_like_torchvision(cifar_jpegs)


PART = st.text("ab-_.Z0", min_size=1, max_size=4).filter(lambda name: name[0] != "." and name[-1] != ".")
TREE = st.lists(
    st.tuples(
        st.sampled_from("AB"),
        st.lists(PART, max_size=2),
        PART,
        st.sampled_from([".jpg", ".JPEG", ".PnG", ".webp", ".txt"]),
    ),
    min_size=1,
    max_size=16,
)


@settings(deadline=None, max_examples=60)
@given(tree=TREE)
def test_order_of_any_tree_is_that_of_torchvision(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[str, list[str], str, str]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    # One class more, twice flat, so that there are images and no hint about a level too many.
    for label, folders, name, suffix in [*tree, ("A", [], "x", ".jpg"), ("B", [], "x", ".jpg")]:
        folder = root.joinpath(label, *(f"d{part}" for part in folders))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}{suffix}").touch()
    assert_like_torchvision(root)


def test_hidden_things_are_left_out(class_folder: Path) -> None:
    before = list_folder(class_folder)
    (class_folder / "a" / "._0.png").touch()
    (class_folder / "__MACOSX").mkdir()
    (class_folder / ".ipynb_checkpoints").mkdir()
    (class_folder / "readme.txt").touch()
    after = list_folder(class_folder)
    assert (after.classes, names(after)) == (before.classes, names(before))


def test_links_are_followed_but_not_in_circles(class_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.fromarray(pixels(9)).save(elsewhere / "9.png")
    (class_folder / "d").symlink_to(elsewhere)
    (class_folder / "b" / "more").symlink_to(elsewhere)
    (class_folder / "a" / "loop").symlink_to(class_folder / "a")
    (class_folder / "a" / "up").symlink_to(tmp_path)
    listing = list_folder(class_folder)
    assert names(listing) == [
        "a/0.png",
        "a/1.png",
        "b/0.png",
        "b/1.png",
        "b/more/9.png",
        "c/0.png",
        "c/1.png",
        "d/9.png",
    ]


def test_an_empty_class_keeps_its_place(class_folder: Path) -> None:
    (class_folder / "aa").mkdir()
    listing = list_folder(class_folder)
    assert listing.classes == ("a", "aa", "b", "c")
    assert sorted(set(listing.labels.tolist())) == [0, 2, 3]


def test_the_stamp_sees_changes(class_folder: Path) -> None:
    stamps = {list_folder(class_folder).stamp}
    assert list_folder(class_folder).stamp in stamps
    os.utime(class_folder / "a" / "0.png", ns=(1, 1))
    stamps.add(list_folder(class_folder).stamp)
    (class_folder / "a" / "0.png").rename(class_folder / "a" / "00.png")
    stamps.add(list_folder(class_folder).stamp)
    class_folder.rename(class_folder.with_name("other"))
    stamps.add(list_folder(class_folder.with_name("other")).stamp)
    assert len(stamps) == 4


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no class folders"),
        (["1.jpg", "2.PNG"], "2 images but no class folders"),
        (["a/x.txt", "b/y.gif"], "2 class folders, but no image "),
        (["train/a/1.jpg", "train/b/1.jpg"], "did you mean .*train"),
        (["train/a/1.jpg", "val/1.jpg"], "did you mean .*train"),
        (["train/1.jpg", "val/1.jpg"], "one level deeper"),
    ],
)
def test_folders_that_are_no_dataset(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        list_folder(tmp_path)


@pytest.mark.parametrize(
    ("splits", "taken"),
    [
        (["train", "val"], "val"),
        (["Train", "Val", "test"], "Val"),
        (["test", "training"], "test"),
        (["test"], "test"),
        (["a", "val"], None),
    ],
)
def test_of_a_dataset_with_splits_train_is_never_taken(
    class_folder: Path, tmp_path: Path, splits: list[str], taken: str | None
) -> None:
    """As torchvision's ImageNet and Imagenette lie; a class may be called `val` among others."""
    for split in splits:
        shutil.copytree(class_folder, tmp_path / "root" / split)
    (tmp_path / "root" / "meta.bin").touch()
    listing = list_folder(tmp_path / "root")
    if taken is None:
        assert (listing.classes, listing.part) == (("a", "val"), "")
    else:
        inner = list_folder(tmp_path / "root" / taken)
        assert (listing.source, listing.part) == (f"folder:{tmp_path / 'root' / taken}", taken)
        assert (names(listing), listing.classes, listing.stamp) == (names(inner), inner.classes, inner.stamp)
        assert inner.part == ""


def test_a_folder_that_may_not_be_listed(class_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def guarded(path: str | Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match="cannot be listed: Permission denied"):
        list_folder(class_folder)


def test_missing_and_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        list_folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="a file, not a folder"):
        list_folder(tmp_path / "file")


def test_what_only_looks_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Unreadable, match="No such file"):
        read_file(tmp_path / "dangling.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    with pytest.raises(Unreadable, match="not a regular file"):
        read_file(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Unreadable, match="1024 MiB"):
        read_file(tmp_path / "huge.jpg")
