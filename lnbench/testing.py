"""A pytest helper: a test that fails when a checkpoint lost accuracy or robustness.

    from lnbench.testing import assert_no_regression

    def test_robustness():
        assert_no_regression("baseline.json", "net.py:build", "npz:test.npz", weights="best.pt")

A module and arrays do as well: `assert_no_regression("baseline.json", model, (images, labels), mean=…)`.

The baseline file is made, and made anew when a change is wanted, by running the test once with
LNBENCH_UPDATE_BASELINE=1; commit it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnbench.results.baseline import write_baseline
from lnbench.results.compare import Comparison, compare
from lnbench.results.correct import read_correct
from lnbench.results.reading import read
from lnbench.results.rules import parse
from lnbench.results.tables import outcome

if TYPE_CHECKING:
    from torch import nn

    from lnbench.api import Data

UPDATE = "LNBENCH_UPDATE_BASELINE"


def assert_no_regression(
    baseline: str | Path,
    model: nn.Module | str,
    data: Data,
    preset: str = "ci",
    *,
    weights: str | None = None,
    fail_if: Sequence[str] = (),
    significance: float | None = None,
    **options: Any,
) -> Comparison | None:
    """Evaluate `model` on `data` and compare it with `baseline`: AssertionError says what got worse.

    `model` and `data` are whatever `lnbench.evaluate` takes: a module and arrays, or specifications.
    `baseline` is a baseline file, run folder or results.json; `fail_if` and `significance` are those of
    `lnbench compare`; `options` are further keys of a run: `limit=500`, `modes=["fixed"]`, `seed=1`,
    `mean=(0.5, 0.5, 0.5)`. Returns the comparison, or None where the baseline was written instead.
    LnbenchError where model, data or baseline cannot be used.
    """
    from lnbench.api import evaluate

    rules = [parse(text) for text in fail_if]
    made = evaluate(model, data, preset=preset, weights=weights, progress=False, **options)
    record, correct = made.content, made.correct
    if os.environ.get(UPDATE) == "1":
        write_baseline(Path(baseline), record, correct)
        return None
    base = read(baseline)
    found = compare(
        base, record, read_correct(baseline, base), correct, rules=rules, significance=significance
    )
    if not found.passed:
        raise AssertionError("\n".join([outcome(found), *(f"- {f.text}" for f in found.failures)]))
    return found
