"""The parameter tables: complete, right where published in another form, and strict with strangers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.corruptions import registry
from lnbench.errors import UsageError


@pytest.mark.parametrize("name", registry.names())
def test_every_row_is_valid(name: str) -> None:
    for table, rows in registry.find(name).tables.items():
        assert len(rows) == 5
        for severity, row in enumerate(rows, start=1):
            assert registry.parameters(table, name, severity) == row
            assert registry.check(name, row) == row


def test_the_benchmark_is_in_every_table() -> None:
    for name in registry.BENCHMARK:
        assert tuple(registry.find(name).tables) == registry.TABLES


def test_spot_values() -> None:
    assert registry.parameters("imagenet", "glass_blur", 3) == (1, 2, 3)
    assert registry.parameters("cifar", "shot_noise", 5) == (50,)
    assert registry.parameters("tiny-imagenet", "snow", 5) == (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)
    assert registry.parameters("imagenet", "elastic_transform", 1) == pytest.approx((488, 170.8, 24.4))
    assert registry.parameters("cifar", "elastic_transform", 2) == pytest.approx((1.6, 6.4, 2.24))


def test_overrides_come_first_and_may_lie_in_between() -> None:
    own = {"contrast": {2.5: [0.25], 3: 0.22}}
    assert registry.parameters("cifar", "contrast", 2.5, own) == (0.25,)
    assert registry.parameters("cifar", "contrast", 3, own) == (0.22,)
    assert registry.parameters("cifar", "contrast", 1, own) == (0.75,)
    assert registry.parameters("cifar", "fog", 3, own) == (0.75, 2.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("imagnet", "fog", 1), "did you mean imagenet"),
        (("cifar", "fogg", 1), "did you mean fog"),
        (("cifar", "fog", 0), "severity 0"),
        (("cifar", "fog", 6), "severity 6"),
        (("cifar", "fog", 2.5), "severity 2.5"),
        (("cifar", "fog", math.nan), "severity nan"),
    ],
)
def test_what_is_not_there_is_refused(arguments: tuple[str, str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        registry.parameters(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("corruption", "numbers"),
    [
        ("gaussian_noise", []),
        ("gaussian_noise", [0.1, 0.2]),
        ("gaussian_noise", [-0.1]),
        ("gaussian_noise", [math.nan]),
        ("gaussian_noise", [math.inf]),
        ("gaussian_noise", ["0.1"]),
        ("gaussian_noise", "0.1"),
        ("gaussian_noise", None),
        ("gaussian_noise", {"scale": 0.1}),
        ("gaussian_noise", [True]),
        ("glass_blur", [1, 2.5, 1]),
        ("glass_blur", [1, 0, 1]),
        ("zoom_blur", [1, 0.01]),
        ("zoom_blur", [1.1, 0]),
        ("jpeg_compression", [0]),
        ("jpeg_compression", [30.5]),
        ("no_such", [1]),
    ],
)
def test_bad_numbers_are_refused_in_one_line(corruption: str, numbers: object) -> None:
    with pytest.raises(UsageError) as caught:
        registry.check(corruption, numbers)
    assert "\n" not in str(caught.value)


@given(
    st.sampled_from(registry.names()),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=8),
        max_leaves=10,
    ),
)
def test_any_value_gives_floats_or_a_usage_error(corruption: str, numbers: object) -> None:
    try:
        result = registry.check(corruption, numbers)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(value, float) and math.isfinite(value) for value in result)
