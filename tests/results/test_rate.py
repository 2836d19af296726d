"""The default rule on simulated pairs: silent where nothing changed, awake where something did."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import compare_rate
from benchmarks.compare_rate import ALIKE, failures


@pytest.mark.parametrize("spread", ALIKE.values(), ids=list(ALIKE))
def test_no_change_fails_no_more_often_than_stated(spread: float) -> None:
    """At a true rate of 5 %, more than 7 of 40 fail once in 1,400; benchmarks/ has 1,000 draws."""
    assert failures(60, spread, 0.0, 40) <= 7


def test_a_real_loss_is_caught() -> None:
    assert failures(400, ALIKE["fine-tuned copy"], 0.05, 5) == 5


@pytest.mark.parametrize("spread", ALIKE.values(), ids=list(ALIKE))
@pytest.mark.parametrize("loss", [0.005, 0.02])
def test_a_loss_is_as_large_as_it_is_called(spread: float, loss: float) -> None:
    """Mean corruption top-1 of the networks that a column of the study compares, over very many images."""
    random = np.random.default_rng(0)
    difficulty = random.normal(0, compare_rate.HARDNESS, 60_000)
    means = []
    for shift in (0.0, compare_rate.margin_of(loss, spread)):
        same = np.random.default_rng(1)  # so that the shift alone differs
        record, _ = compare_rate._network(difficulty, spread, dict.fromkeys(compare_rate.MODES, shift), same)
        means.append(np.mean([cell.top1 for cell in record.cells if cell.corruption != "clean"]))
    assert means[0] - means[1] == pytest.approx(loss, rel=0.05)
