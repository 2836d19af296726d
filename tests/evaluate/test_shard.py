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
    dealt = [shard.split(units, conditions, rank, world) for rank in range(world)]
    for condition in range(conditions):
        owned = [unit for ranges in dealt for unit in ranges[condition]]
        assert owned == list(range(units))
    sizes = [sum(len(numbers) for numbers in ranges) for ranges in dealt]
    assert max(sizes) - min(sizes) <= 1


@given(chunks=COUNTS, batches=COUNTS, streams=st.integers(0, 4), world=st.integers(1, 2000), left=FEW)
def test_a_window_is_the_shortest_that_keeps_everybody_busy(
    chunks: int, batches: int, streams: int, world: int, left: int
) -> None:
    load = shard.Load(chunks, batches, streams)
    count = shard.window(load, world, left)

    def waste(conditions: int) -> float:
        return max(shard.idle(units * conditions, world) for units in load)

    assert 1 <= count <= left
    assert all(waste(shorter) > 0.05 for shorter in range(1, count))
    assert waste(count) <= max(0.05, min(waste(other) for other in range(1, left + 1)))


def test_one_process_takes_one_condition_at_a_time() -> None:
    assert shard.window(shard.Load(1000, 250, 2), world=1, left=76) == 1
    assert shard.parts(shard.Load(7, 3, 2), 1, rank=0, world=1) == [shard.Part(range(7), range(3), range(2))]


@given(streams=st.integers(0, 5), conditions=FEW, world=st.integers(1, 9))
def test_a_stream_belongs_to_one_process(streams: int, conditions: int, world: int) -> None:
    owned = [
        [part.streams for part in shard.parts(shard.Load(9, 4, streams), conditions, rank, world)]
        for rank in range(world)
    ]
    for condition in range(conditions):
        dealt = [number for ranges in owned for number in ranges[condition]]
        assert sorted(dealt) == list(range(streams))


@given(conditions=FEW, of=st.integers(1, 80))
def test_shards_cover_the_conditions_once(conditions: int, of: int) -> None:
    of = min(of, conditions)
    dealt = [shard.conditions_of(conditions, number, of) for number in range(1, of + 1)]
    assert sorted(place for places in dealt for place in places) == list(range(conditions))
    # The order comes back by taking one from each shard in turn, as `merge` does.
    assert [dealt[place % of][place // of] for place in range(conditions)] == list(range(conditions))


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/0", "-1/2", "1/2/3", "a/b", "1.5/2", " 1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard takes i/n"):
        parse_shard(text)


def test_more_shards_than_conditions_are_refused_with_the_number_that_works() -> None:
    with pytest.raises(UsageError, match="only 76 conditions"):
        shard.conditions_of(76, 80, 100)
