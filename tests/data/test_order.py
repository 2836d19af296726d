"""Orders of a stream: every image once, a function of labels and seed, correlated as much as asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.data.batches import shuffled
from lnbench.data.order import Order, arrange, parse
from lnbench.errors import UsageError

TEN = np.arange(2000) % 10


def runs(labels: np.ndarray) -> int:
    """How many stretches of one class there are."""
    return 1 + int((np.diff(labels) != 0).sum())


@pytest.mark.parametrize("text", ["shuffled", "sorted", "dirichlet:delta=0.1", "dirichlet:delta=10"])
def test_an_order_reads_back_and_arranges_every_image_once(text: str) -> None:
    order = parse(text)
    assert str(order) == text and parse(str(order)) == order
    found = arrange(order, TEN, 3)
    assert found.dtype == np.int64 and sorted(found) == list(range(2000))
    assert np.array_equal(found, arrange(order, TEN, 3))
    assert not np.array_equal(found, arrange(order, TEN, 4))


def test_the_usual_order_is_the_seeded_shuffle() -> None:
    assert np.array_equal(arrange(parse("shuffled"), TEN, 5), shuffled(2000, 5))


def test_sorted_is_one_stretch_for_each_class() -> None:
    labels = np.array([7, 3, 7, 3, 3, 11])
    assert labels[arrange(parse("sorted"), labels, 0)].tolist() == [3, 3, 3, 7, 7, 11]


def test_dirichlet_defaults_to_the_delta_of_note() -> None:
    assert parse("dirichlet") == Order("dirichlet", 0.1)


def test_a_small_delta_correlates_and_a_large_one_deals_evenly() -> None:
    """Ten chunks of at most ten classes: at most 100 stretches; with delta → ∞ every chunk has them all."""
    stretches = {delta: runs(TEN[arrange(Order("dirichlet", delta), TEN, 0)]) for delta in (0.01, 0.1, 1e6)}
    assert stretches[0.01] < stretches[0.1] < 60
    # A class that ends one chunk and begins the next joins two stretches.
    assert 85 <= stretches[1e6] <= 100
    even = TEN[arrange(Order("dirichlet", 1e6), TEN, 0)].reshape(10, 200)
    assert all(np.bincount(chunk, minlength=10).min() >= 10 for chunk in even)


def test_dirichlet_is_the_sampler_of_note() -> None:
    """Written plainly from the authors' description, with the same draws."""
    delta, seed, labels = 0.1, 7, np.arange(600) % 6
    random = np.random.RandomState([seed, 0, 4])
    mixed = shuffled(600, seed)
    while True:
        chunks: list[list[list[int]]] = [[[] for _ in range(6)] for _ in range(6)]
        for each in range(6):
            own = [int(i) for i in mixed if labels[i] == each]
            shares = random.dirichlet([delta] * 6)
            shares = np.array(
                [p * (sum(map(len, chunk)) < 100) for p, chunk in zip(shares, chunks, strict=True)]
            )
            start, total = 0, 0.0
            for number, share in enumerate(shares / shares.sum()):
                total += share
                stop = len(own) if number == 5 else int(total * len(own))
                chunks[number][each] = own[start:stop]
                start = stop
        if min(sum(map(len, chunk)) for chunk in chunks) >= 10:
            break
    expected = []
    for chunk in chunks:
        place = random.permutation(6)
        for each in np.argsort(place):
            expected += chunk[each]
    assert arrange(Order("dirichlet", delta), labels, seed).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 12), min_size=1, max_size=150),
    seed=st.integers(0, 2**63 - 1),
    delta=st.sampled_from([0.1, 1.0, 100.0]),
)
def test_any_labels_can_be_dealt(labels: list[int], seed: int, delta: float) -> None:
    found = arrange(Order("dirichlet", delta), np.array(labels), seed)
    assert sorted(found) == list(range(len(labels)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shufled", "did you mean shuffled"),
        ("sorted:delta=1", "takes no options"),
        ("dirichlet:delta=0", "from 0.01"),
        ("dirichlet:delta=", "from 0.01"),
        ("dirichlet:delta=1e-3", "from 0.01"),
        ("dirichlet:gamma=1", "delta=D"),
    ],
)
def test_what_is_no_order_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(text)


def test_chunks_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lnbench.data.order._TRIES", 1)
    labels = np.zeros(400, np.int64)
    labels[0] = 1  # nearly all images are of one class, and with this delta of one chunk
    with pytest.raises(UsageError, match="a larger delta or more images"):
        arrange(Order("dirichlet", 0.01), labels, 0)
