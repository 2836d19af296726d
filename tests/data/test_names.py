"""Names of strangers as names of files."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.data.names import ordered_names, safe_name

ANY = st.text(st.characters(), max_size=300)  # surrogates and control characters included


@given(ANY)
def test_any_name_stays_in_its_folder(text: str) -> None:
    name = safe_name(text)
    assert name not in ("", ".", "..")
    assert Path("/folder", name).parent == Path("/folder")
    assert PureWindowsPath(name).name == name
    assert not name.startswith(".") and name[-1] not in ". "
    assert len(name.encode()) <= 130
    assert name.isprintable() or all(ord(character) >= 32 for character in name)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True).filter(lambda t: t[:3].lower() not in
       ("con", "prn", "aux", "nul", "com", "lpt")))  # fmt: skip
def test_plain_names_stay(text: str) -> None:
    assert safe_name(text) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("..", "_"), ("../../etc/passwd", "_.._.._etc_passwd"), ("a/b", "a_b"), ("a\\b", "a_b"),
        ("C:\\x", "C__x"), ("a\0b", "a_b"), ("CON", "_CON"), ("nul.txt", "_nul.txt"), ("COM1", "_COM1"),
        ("console", "console"), (".hidden", "_.hidden"), ("dot.", "dot"), ("", "_"), ("bad\ud800", "bad_"),
        ("tench, Tinca tinca", "tench, Tinca tinca"), ("e\u0301", "é"),
    ],
)  # fmt: skip
def test_examples(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_long_names_stay_different() -> None:
    names = {safe_name("x" * 200 + end) for end in "abc"}
    assert len(names) == 3


@given(st.lists(ANY, min_size=1, max_size=30))
def test_order_is_kept_and_nothing_meets(texts: list[str]) -> None:
    names = ordered_names(texts, ".png")
    assert len(names) == len(texts)
    assert names == sorted(names)
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.endswith(".png") and Path(name).name == name for name in names)


def test_numbers_come_only_where_they_are_needed() -> None:
    assert ordered_names(["cat", "dog"]) == ["cat", "dog"]
    assert ordered_names(["dog", "cat"]) == ["0_dog", "1_cat"]
    assert ordered_names([str(n) for n in range(11)])[10] == "10_10"
    assert ordered_names(["A", "a"]) == ["0_A", "1_a"]
