"""Text of strangers on one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lnbench.data.text import one_line, printable


def test_names_become_printable() -> None:
    assert printable("tench, Tinca tinca é") == "tench, Tinca tinca é"
    assert printable("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"


def test_messages_become_one_line() -> None:
    assert one_line(ValueError("two\nlines")) == "two lines"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(OSError(2, "gone")) == "[Errno 2] gone"


@given(st.text(st.characters()))
def test_any_text(text: str) -> None:
    assert printable(text).isprintable()
    line = one_line(ValueError(text * 40))
    assert line and line.isprintable()
    line.encode()
