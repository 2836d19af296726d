"""Draws: shares are dealt fairly, intervals hold for images and draws together, and say so."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lnbench.results.bits import pack
from lnbench.results.compare import compare
from lnbench.results.correct import Correct
from lnbench.results.draws import (
    answering,
    p_value,
    quantile,
    share_sums,
    shares,
    standard_error,
    widened,
)
from lnbench.results.schema import Record
from lnbench.results.scores import rate_interval, wilson
from lnbench.results.store import make_record
from lnbench.results.tables import basis, draw_notes
from tests.results.samples import make_cells, make_run

MODE = "adapt:n=32,draws=8"


def test_shares_are_even_never_change_and_do_not_follow_the_order_of_the_images() -> None:
    for images, draws in ((846, 16), (10, 3), (5, 5)):
        sizes = np.bincount(answering(images, draws))
        assert len(sizes) == draws and sizes.max() - sizes.min() <= 1
    assert answering(10, 3).tolist() == [2, 1, 0, 2, 0, 0, 2, 1, 1, 0]
    # Images sorted by class: a share holds them as they come, not one of each.
    of = answering(6000, 6)
    assert abs(np.corrcoef(of, np.arange(6000))[0, 1]) < 5 / math.sqrt(6000)
    assert abs(np.corrcoef(of, np.arange(6000) % 6)[0, 1]) < 5 / math.sqrt(6000)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 15, 31, 100])
def test_students_t_is_scipys(freedom: int) -> None:
    assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-12)
    for t in (0.0, 0.3, 1.0, 4.0):
        assert p_value(t, 1.0, freedom + 1) == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-12)
    assert p_value(0.0, 0.0, freedom + 1) == 1 and p_value(0.1, 0.0, freedom + 1) == 0


def test_with_equal_shares_the_error_is_that_of_the_mean_of_their_means() -> None:
    values = np.random.default_rng(0).normal(size=96)
    means = [values[answering(96, 8) == share].mean() for share in range(8)]
    assert standard_error(share_sums(values, 8), 96) == pytest.approx(stats.sem(means), rel=1e-12)
    found = stats.ttest_1samp(means, 0)
    assert p_value(values.mean(), stats.sem(means), 8) == pytest.approx(found.pvalue, rel=1e-9)
    low, high = found.confidence_interval()
    assert widened((values.mean(),) * 2, values.mean(), stats.sem(means), 8) == pytest.approx((low, high))


def drawn(random: np.random.Generator, spread: float, images: int = 400, rate: float = 0.7) -> np.ndarray:
    """Right and wrong images where each of 8 draws moves the rate, which `spread` is the deviation of."""
    rates = np.clip(rate + random.normal(0, spread, 8), 0, 1)
    return random.uniform(size=images) < rates[answering(images, 8)]


@pytest.mark.parametrize(("spread", "alone"), [(0.0, 0.95), (0.08, 0.8)])
def test_an_interval_holds_for_other_images_and_other_draws(spread: float, alone: float) -> None:
    random, held, narrow = np.random.default_rng(1), 0, 0
    cell = make_cells(make_run(modes=(MODE,), images=400))[0]
    for _ in range(500):
        flags = drawn(random, spread)
        update = {"scores": {"top1": float(flags.mean())}, "draws": shares(flags, 8)}
        low, high = rate_interval(cell.model_copy(update=update))
        held += low <= 0.7 <= high
        low, high = wilson(int(flags.sum()), 400)
        narrow += low <= 0.7 <= high
    assert held / 500 > 0.94  # one standard error is 0.01
    assert narrow / 500 < alone + 0.03


def record(random: np.random.Generator, spread: float, *, said: bool) -> tuple[Record, Correct]:
    run = make_run(modes=(MODE,), images=400)
    cells = []
    for cell in make_cells(run):
        flags = drawn(random, spread)
        update = {"scores": {"top1": float(flags.mean())}, "draws": shares(flags, 8) if said else None}
        cells.append((cell.model_copy(update={**update, "correct": None}), flags))
    evidence = Correct({cell.key: flags for cell, flags in cells})
    full = [cell.model_copy(update={"correct": pack(flags)}) for cell, flags in cells]
    return make_record(run, full), evidence


@pytest.mark.parametrize("said", [True, False])
def test_networks_that_differ_by_their_draws_alone_are_the_same(said: bool) -> None:
    """With a spread of 20 points between draws; where the record does not know of draws, it fails often."""
    random = np.random.default_rng(2)
    pairs = [(record(random, 0.2, said=said), record(random, 0.2, said=said)) for _ in range(30)]
    failed = sum(not compare(*one[:1], *two[:1], one[1], two[1]).passed for one, two in pairs)
    assert failed <= 3 if said else failed > 5


def test_the_mean_is_as_wide_as_its_draws_make_it_and_notes_say_so() -> None:
    random = np.random.default_rng(3)
    (known, bits), (unknown, _) = (record(random, 0.1, said=said) for said in (True, False))
    widths = [
        r.summary[MODE].mean_corruption_interval[1] - r.summary[MODE].mean_corruption_interval[0]  # type: ignore[index]
        for r in (known, unknown)
    ]
    assert widths[0] > widths[1]
    assert draw_notes(known, "±") == [f"{MODE}: ± for any images drawn"] and not draw_notes(unknown, "±")
    assert f"{MODE}: p and interval for any images drawn" in basis(compare(known, known, bits, bits))
    once = known.model_copy(
        update={"cells": tuple(c.model_copy(update={"draws": ((400, 1),)}) for c in known.cells)}
    )
    assert "draws=16 covers others too" in draw_notes(once, "±")[0]


def test_a_cell_of_impossible_draws_is_refused() -> None:
    cell = make_cells(make_run(modes=(MODE,)))[0].model_dump()
    for draws in ((), ((0, 0),), ((3, -1),), ((3,),), (3, 1)):
        with pytest.raises(ValueError, match="draws"):
            type(make_cells(make_run())[0]).model_validate(cell | {"draws": draws})
