"""The study of what was foretold: how far the time left was off is taken from what a person saw then."""

from __future__ import annotations

import pytest

from benchmarks.plan import errors


def test_the_time_left_at_a_moment_is_what_was_told_last_counted_down() -> None:
    # Told at 0, 7.5 and 55 s of 100: too much by a fifth at first, then exact, then far too little.
    found = {"seconds": 100.0, "foretold_seconds": 120.0, "told": [(7.5, 92.5), (55.0, 10.0)]}
    exact, short = [0.0] * 5, [5 / 40 - 1, -1.0, -1.0, -1.0]
    assert errors(found) == pytest.approx([*exact, *short])
    found["told"] = [(100.0, 0.0)]  # nothing but the forecast was there
    assert errors(found) == pytest.approx([20 / (100 - now) for now in range(10, 100, 10)])
