"""The default rule on simulated pairs: silent where nothing changed, awake where something did."""

from __future__ import annotations

import pytest

from benchmarks.compare_rate import ALIKE, failures


@pytest.mark.parametrize("spread", ALIKE.values(), ids=list(ALIKE))
def test_no_change_fails_no_more_often_than_stated(spread: float) -> None:
    """At a true rate of 5 %, more than 7 of 40 fail once in 1,400; benchmarks/ has 1,000 draws."""
    assert failures(60, spread, 0.0, 40) <= 7


def test_a_real_loss_is_caught() -> None:
    assert failures(400, ALIKE["fine-tuned copy"], 0.05, 5) == 5
