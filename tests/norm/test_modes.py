from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.errors import UsageError
from lnbench.norm.modes import DESCRIPTIONS, OPTIONS, Mode, parse

modes = st.one_of(
    st.sampled_from([Mode("fixed"), Mode("batch"), Mode("local"), Mode("local", vote="mean")]),
    st.builds(lambda k: Mode("local", group=k), st.integers(0, 999)),
    st.builds(
        lambda N, scope: Mode("blend", N=N, scope=scope),
        st.floats(0, 1e12, allow_nan=False).map(abs),
        st.sampled_from(["image", "batch"]),
    ),
    st.builds(lambda n: Mode("adapt", n=n), st.integers(1, 10**6)),
)


@given(modes)
def test_canonical_text_parses_back(mode: Mode) -> None:
    assert parse(str(mode)) == mode


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("fixed", "fixed"),
        ("batch", "batch"),
        ("local", "local"),
        ("local:vote=majority", "local"),
        ("local:vote=mean", "local:vote=mean"),
        ("local:group=0", "local:group=0"),
        ("blend", "blend:N=16"),
        ("blend:N=16.0", "blend:N=16"),
        ("blend:scope=batch", "blend:N=16,scope=batch"),
        (" blend: scope = image , N = .5 ", "blend:N=0.5"),
        ("blend:N=-0", "blend:N=0"),
        ("adapt", "adapt:n=32"),
        ("adapt:n=8", "adapt:n=8"),
    ],
)
def test_canonical_text(typed: str, canonical: str) -> None:
    assert str(parse(typed)) == canonical


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "unknown mode"),
        ("batches", "did you mean batch"),
        ("blend:M=3", "did you mean|takes"),
        ("blend:scop=batch", "did you mean scope"),
        ("blend:scope=group", "image or batch"),
        ("blend:N=-1", "at least 0"),
        ("blend:N=nan", "at least 0"),
        ("blend:N=inf", "at least 0"),
        ("blend:N=", "no value"),
        ("blend:N", "no value"),
        ("blend:N=1,N=2", "twice"),
        ("blend:,", "unknown option"),
        ("adapt:n=0", "at least 1"),
        ("adapt:n=3.5", "whole number"),
        ("adapt:n=٣", "whole number"),
        ("adapt:n=" + "9" * 5000, "whole number"),
        ("local:group=-1", "whole number"),
        ("local:vote=none", "majority or mean"),
        ("local:vote=mean,group=1", "not both"),
        ("fixed:n=3", "takes no options"),
    ],
)
def test_bad_modes_are_refused_in_one_line(typed: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(typed)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_mode_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse(str(parse(text))) == parse(text)


def test_every_mode_is_described_and_has_options_listed() -> None:
    assert DESCRIPTIONS.keys() == OPTIONS.keys()
    for kind in DESCRIPTIONS:
        assert parse(kind).kind == kind


def test_which_modes_need_their_batch() -> None:
    needing = [kind for kind in DESCRIPTIONS if parse(kind).needs_batch]
    assert needing == ["batch"]
    assert parse("blend:scope=batch").needs_batch
