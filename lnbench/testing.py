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
    """Evaluate a network and compare it with a committed baseline, for a test of one's own.

    With LNBENCH_UPDATE_BASELINE=1 in the environment the baseline is written instead; commit it.

    Args:
        baseline: a baseline file, run folder or results.json.
        model, data: whatever `lnbench.evaluate` takes: a module and arrays, or specifications.
        preset: the suite that everything not said otherwise comes from.
        weights: a checkpoint file for a model given as a specification.
        fail_if, significance: those of `lnbench.compare`.
        **options: further arguments of `lnbench.evaluate`: limit, modes, seed, mean, std, …

    Returns the comparison, whose `passed` is True, or None where the baseline was written.

    Raises:
        AssertionError: it got worse; a line for each rule that is broken.
        LnbenchError: model, data or baseline cannot be used.

    Example:
        >>> import os, tempfile
        >>> from lnbench.testing import assert_no_regression
        >>> file = os.path.join(tempfile.mkdtemp(), "baseline.json")
        >>> options = {"corruptions": ["contrast"], "severities": [5], "modes": ["fixed"], "limit": 48}
        >>> os.environ["LNBENCH_UPDATE_BASELINE"] = "1"
        >>> assert_no_regression(file, "demo", "demo", **options)
        >>> del os.environ["LNBENCH_UPDATE_BASELINE"]
        >>> assert_no_regression(file, "demo", "demo", **options).passed
        True
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
