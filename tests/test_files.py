"""What came from elsewhere, as one line that a terminal can take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lnbench.files import one_line, said


@given(st.text(max_size=100))
def test_one_line_is_short_and_harmless(text: str) -> None:
    shown = one_line(text, 40)
    assert len(shown) <= 40
    assert shown.isprintable()


def test_one_line_keeps_ordinary_text_and_escapes_terminal_codes() -> None:
    assert one_line("layer1.0.conv1.weight") == "layer1.0.conv1.weight"
    assert one_line("\x1b[31mred \n\t herring") == r"\x1b[31mred herring"
    assert one_line("abcdef", 6) == "abcdef" and one_line("abcdefg", 6) == "abcde…"


def test_an_exception_without_words_says_its_kind() -> None:
    assert said(ValueError("a\nb")) == "a b"
    assert said(ValueError(" ")) == "ValueError"
