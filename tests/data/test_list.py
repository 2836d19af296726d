"""Lists of images: their forms, their order, and what is no list."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lnbench.data.loading import open_store
from lnbench.data.specs import listing, parse
from lnbench.data.store import Decoding, Listing
from lnbench.errors import DataError, UsageError
from tests.data.conftest import pixels


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A folder of five images side by side, one of them with a space in its name."""
    root = tmp_path / "flat"
    (root / "n01" / "n02").mkdir(parents=True)
    for index, name in enumerate(["0.JPEG", "1.JPEG", "a b.png", "n01/3.png", "n01/n02/4.png"]):
        Image.fromarray(pixels(index)).save(root / name)
    return root


def listed(folder: Path, text: str, name: str = "list.txt", root: Path | None = None) -> Listing:
    (folder / name).write_text(text)
    return listing(parse(f"list:{folder / name}", None if root is None else str(root)))


def names(found: Listing) -> list[str]:
    return [found.name(index) for index in range(len(found.labels))]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1.JPEG 7\na b.png 3\n0.JPEG 7\n", "x.txt"),
        ("1.JPEG 7\r\n\r\na b.png  3\r\n0.JPEG\t7\r\n", "x.txt"),
        ("1.JPEG\t7\t0\t32\t44\na b.png\t3\t1\t1\t1\n0.JPEG\t7\t1\t1\t1\n", "val_annotations.txt"),
        ("\ufeffpath,label\n1.JPEG,7\na b.png,3\n\n0.JPEG,7\n", "x.csv"),
        ('x, Label ,FILE\n0,7,1.JPEG\n0,3,"a b.png"\n0,7,0.JPEG\n', "x.csv"),
        ("path,label\n1.JPEG,7\na b.png,3\n0.JPEG,7\n", "x.txt"),
    ],
)
def test_every_form_of_a_list_in_its_own_order(flat: Path, text: str, name: str) -> None:
    found = listed(flat, text, name)
    assert names(found) == ["1.JPEG", "a b.png", "0.JPEG"]
    assert found.labels.tolist() == [7, 3, 7]
    assert (found.classes, found.named) == (tuple("01234567"), False)
    assert open_store(parse(str(flat / name)), Decoding()).labels.tolist() == [7, 3, 7]


def test_names_are_sorted_and_paths_alone_take_their_folder(flat: Path) -> None:
    found = listed(flat, "0.JPEG n02\n1.JPEG n01\na b.png n02\n")
    assert (found.classes, found.labels.tolist(), found.named) == (("n01", "n02"), [1, 0, 1], True)
    found = listed(flat, "n01/n02/4.png\nn01/3.png\n")
    assert (found.classes, found.labels.tolist()) == (("n01", "n02"), [1, 0])


def test_the_files_may_lie_elsewhere(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    found = listed(tmp_path / "lists", "0.JPEG 1\n", root=flat)
    assert found.source == f"list:{tmp_path / 'lists' / 'list.txt'} in {flat}"
    assert found.read(0)[0].size == (40, 40)
    with pytest.raises(DataError, match=r"none of its 1 files is in .*lists \('0.JPEG'\).*--root DIR"):
        listed(tmp_path / "lists", "0.JPEG 1\n")
    with pytest.raises(
        UsageError, match=r"--root goes with a list of images \(list:FILE\), not with folder:"
    ):
        parse(str(flat), "x")


def test_what_is_missing_is_named(flat: Path) -> None:
    listed(flat, "0.JPEG 1\ngone.JPEG 0\n")
    with pytest.raises(DataError, match=r"1 image cannot be read .gone\.JPEG: No such file"):
        open_store(parse(f"list:{flat / 'list.txt'}"), Decoding())


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "x.txt", "names no images"),
        ("0.JPEG 1\n1.JPEG\n", "x.txt", "line 2: no '<path> <label>': '1.JPEG'"),
        ("0.JPEG 1\n\n\x1b[31m\n", "x.txt", r"line 3: no '<path> <label>': '\\x1b"),
        ("0.JPEG\t\n1.JPEG\t\n", "x.txt", "line 1: no '<path> <label>'"),
        ("0.JPEG 1\n1.JPEG n01\n", "x.txt", r"labels are numbers \(1\) and names \('n01'\)"),
        ("0.JPEG -1\n", "x.txt", "label -1 lies outside"),
        ("0.JPEG 99999999\n", "x.txt", "label 99999999 lies outside"),
        ("0.JPEG,1\n", "x.csv", "a header that has the columns path and label"),
        ("path,label\n0.JPEG\n", "x.csv", "a row without path or label: '0.JPEG'"),
        ("path,label\n", "x.csv", "holds no images"),
        ("a\0b", "x.txt", "no list of images, which is text"),
    ],
)
def test_what_is_no_list_is_one_line(flat: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        listed(flat, text, name)
    assert str(caught.value).isprintable() and str(flat / name) in str(caught.value)
