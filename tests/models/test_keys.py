"""Leading wrappers come off, only when they lead every name; what differs is grouped and short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.models.keys import WRAPPERS, compare, details, harmless, modern, summary, wrapper

PARTS = st.sampled_from(["conv1", "bn1", "layer1", "0", "model", "module", "weight", "fc"])
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(".".join), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["conv.weight"], ""),
        (["module.conv.weight", "module.fc.bias"], "module."),
        (["module.conv.weight", "fc.bias"], ""),
        (["model._orig_mod.module.fc.bias"], "model._orig_mod.module."),
        (["module.module.fc.bias", "module.model.fc.bias"], "module."),
        (["layer.module.weight", "layer.model.bias"], ""),
        (["module.", "module.a"], ""),
        (["modules.a"], ""),
        ([], ""),
    ],
)
def test_wrapper(names: list[str], prefix: str) -> None:
    assert wrapper(names) == prefix


@given(NAMES, st.lists(st.sampled_from(WRAPPERS), max_size=3).map("".join))
def test_a_wrapper_put_on_comes_off_and_what_is_left_has_none(names: list[str], added: str) -> None:
    own = wrapper(names)
    assert wrapper([added + name for name in names]) == added + own
    stripped = [name[len(own) :] for name in names]
    assert all(stripped)
    assert wrapper(stripped) == "" or any(name in [w[:-1] for w in WRAPPERS] for name in stripped)


def test_published_densenet_names_are_modernised() -> None:
    old = "features.denseblock1.denselayer2.norm.1.running_mean"
    assert modern(old) == "features.denseblock1.denselayer2.norm1.running_mean"
    assert modern(modern(old)) == modern(old)
    assert modern("layer1.conv.1.weight") == "layer1.conv.1.weight"


def test_batch_counters_never_count() -> None:
    assert harmless("bn1.num_batches_tracked") and harmless("num_batches_tracked")
    assert not harmless("bn1.my_num_batches_tracked")
    assert not compare({"a": (1,)}, {"a": (1,), "bn.num_batches_tracked": ()})
    assert not compare({"a": (1,), "bn.num_batches_tracked": ()}, {"a": (1,)})
    assert not compare({"bn.num_batches_tracked": (1,)}, {"bn.num_batches_tracked": ()})


def test_one_report_says_everything_shortly() -> None:
    given = {"layer1.0.conv_1.weight": (16, 3, 3, 3), "fc.weight": (10, 64), "fc.bias": (10,), "ema": ()}
    wanted = {"layer1.0.conv1.weight": (16, 3, 3, 3), "fc.weight": (1000, 64), "fc.bias": (10,)}
    difference = compare(given, wanted)
    assert summary(difference) == "keys: 1 missing, 2 unexpected, 1 of another shape"
    assert details(difference).splitlines() == [
        "  missing from the file: layer1.0.conv1.weight",
        "  unexpected in the file: layer1.0.conv_1.weight, ema",
        "  near: layer1.0.conv1.weight in the network, layer1.0.conv_1.weight in the file",
        "  shape: fc.weight is (10, 64) in the file, (1000, 64) in the network",
    ]


def test_nothing_in_common_is_said() -> None:
    assert summary(compare({"a": (1,)}, {"b": (1,)})).endswith("not one in common")


def test_many_keys_are_grouped_with_counts() -> None:
    wanted = {f"layer{i}.{j}.weight": (1,) for i in range(12) for j in range(3)} | {"fc.bias": (1,)}
    text = details(compare({}, wanted))
    assert text.startswith("  missing from the file: layer0.* (3), layer1.* (3), ")
    assert text.count("(3)") == 8
    assert text.endswith("and 5 more groups")


SHAPES = st.dictionaries(st.text(max_size=300), st.tuples(st.integers(0, 3)), max_size=40)


@given(SHAPES, SHAPES)
def test_a_report_is_short_and_printable_whatever_the_names(
    given: dict[str, tuple[int]], wanted: dict[str, tuple[int]]
) -> None:
    difference = compare(given, wanted)
    lines = [summary(difference), *details(difference).splitlines()]
    assert len(lines) <= 11
    assert all(line.isprintable() and len(line) < 800 for line in lines)
    assert bool(difference) == (
        {n: s for n, s in given.items() if not harmless(n)}
        != {n: s for n, s in wanted.items() if not harmless(n)}
    )
