"""Braces in a mode stand for several modes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.cli import values
from lnbench.errors import UsageError
from lnbench.norm.modes import registry
from lnbench.norm.sweep import MOST, expand


@pytest.mark.parametrize(
    ("text", "modes"),
    [
        ("fixed", ["fixed"]),
        ("local:layers=first{0..3}", [f"local:layers=first{k}" for k in range(4)]),
        ("blend:N={1,4,.5}", ["blend:N=1", "blend:N=4", "blend:N=.5"]),
        ("adapt:n={8..32..8}", [f"adapt:n={n}" for n in (8, 16, 24, 32)]),
        (
            "blend:N={1,4},layers=first{1..2}",
            [f"blend:N={n},layers=first{k}" for n in (1, 4) for k in (1, 2)],
        ),
        ("{fixed,batch}", ["fixed", "batch"]),
        ("blend:N={2,2}", ["blend:N=2"]),
    ],
)
def test_braces_expand(text: str, modes: list[str]) -> None:
    assert list(expand(text)) == modes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("local:layers=first{0..8", "no partner"),
        ("local:layers=first0..8}", "no partner"),
        ("blend:N={}", "no range or list"),
        ("blend:N={3}", "no range or list"),
        ("blend:N={1,}", "no range or list"),
        ("adapt:n={8..2}", "upwards"),
        ("adapt:n={1..9..0}", "upwards"),
        ("adapt:n={1..999999}", "stands for"),
        ("blend:N={1,2,3,4,5,6,7,8,9,10,11},layers=first{1..10}", "stands for 110 modes"),
    ],
)
def test_braces_that_are_none_are_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        expand(text)
    assert "\n" not in str(caught.value)


@given(st.text("fixed{},.0123456789=:", max_size=40))
def test_any_text_expands_within_bounds_or_is_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 1 <= len(expand(text)) <= MOST


def test_commas_within_braces_do_not_end_a_mode() -> None:
    typed = ["fixed,blend:N={1,4},scope=batch,batch"]
    assert values.modes(typed, registry.names()) == ["fixed", "blend:N={1,4},scope=batch", "batch"]
