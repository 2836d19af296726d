"""Dealing: everything once, evenly, and the bounds that the code promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.config import parse_shard
from lnbench.errors import UsageError
from lnbench.evaluate import shard

COUNTS = st.integers(0, 300)
FEW = st.integers(1, 80)


@given(units=COUNTS, conditions=FEW, world=st.integers(1, 50))
def test_every_unit_of_a_window_is_dealt_once_and_evenly(units: int, conditions: int, world: int) -> None:
    dealt = [shard.deal(units, conditions, rank, world) for rank in range(world)]
    for condition in range(conditions):
        owned = [unit for ranges in dealt for unit in ranges[condition]]
        assert owned == list(range(units))
    sizes = [sum(len(numbers) for numbers in ranges) for ranges in dealt]
    assert max(sizes) - min(sizes) <= 1


@given(chunks=COUNTS, batches=COUNTS, world=st.integers(1, 2000), left=FEW)
def test_a_window_is_the_shortest_that_keeps_everybody_busy(
    chunks: int, batches: int, world: int, left: int
) -> None:
    count = shard.window(chunks, batches, world, left)

    def waste(conditions: int) -> float:
        return max(shard.idle(chunks * conditions, world), shard.idle(batches * conditions, world))

    assert 1 <= count <= left
    assert all(waste(shorter) > 0.05 for shorter in range(1, count))
    assert waste(count) <= max(0.05, min(waste(other) for other in range(1, left + 1)))


def test_one_process_takes_one_condition_at_a_time() -> None:
    assert shard.window(1000, 250, world=1, left=76) == 1
    assert shard.shares(7, 3, 1, rank=0, world=1) == [shard.Share(range(7), range(3))]


def test_a_process_without_a_part_has_an_empty_share() -> None:
    assert not shard.Share(range(3, 3), range(0))
    assert shard.Share(range(0), range(1, 2))


@given(conditions=FEW, of=st.integers(1, 80))
def test_shards_cover_the_conditions_once(conditions: int, of: int) -> None:
    of = min(of, conditions)
    dealt = [shard.shard(conditions, number, of) for number in range(1, of + 1)]
    assert sorted(place for places in dealt for place in places) == list(range(conditions))
    # The order comes back by taking one from each shard in turn, as `merge` does.
    assert [dealt[place % of][place // of] for place in range(conditions)] == list(range(conditions))


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/0", "-1/2", "1/2/3", "a/b", "1.5/2", " 1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard takes i/n"):
        parse_shard(text)


def test_more_shards_than_conditions_are_refused_with_the_number_that_works() -> None:
    with pytest.raises(UsageError, match="only 76 conditions"):
        shard.shard(76, 80, 100)
