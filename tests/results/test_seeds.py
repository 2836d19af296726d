"""Comparing over seeds: figures are means, the test is Student's t over the paired differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lnbench.errors import RecordError
from lnbench.results.reading import record_bytes
from lnbench.results.rules import parse
from lnbench.results.seeds import compare_seeds, find_seeds, folder_name
from lnbench.results.store import make_record
from lnbench.results.tables import basis
from tests.cli import conftest as cli
from tests.cli.conftest import Lnbench
from tests.networks import write_task
from tests.results.samples import make_cells, make_run

lnbench = cli.lnbench  # the fixture


def write(folder: Path, losses: dict[int, float]) -> list[Path]:
    """Runs of several seeds that lose so much."""
    for seed, loss in losses.items():
        place = folder / folder_name(seed)
        place.mkdir(parents=True)
        run = make_run(seed=seed, images=200)
        (place / "results.json").write_bytes(
            record_bytes(make_record(run, make_cells(run, loss=loss, noise=seed)))
        )
    return find_seeds(folder)


def tops(paths: list[Path], mode: str, corruption: str, severity: float) -> list[float]:
    from lnbench.results.reading import read

    cells = [cell for path in paths for cell in read(path).cells]
    return [c.top1 for c in cells if (c.mode, c.corruption, c.severity) == (mode, corruption, severity)]


def test_means_and_a_paired_t_test(tmp_path: Path) -> None:
    old = write(tmp_path / "old", dict.fromkeys(range(5), 0.0))
    new = write(tmp_path / "new", {0: 0.09, 1: 0.1, 2: 0.08, 3: 0.09, 4: 0.1})
    found = compare_seeds(old, new)
    assert found.seeds == 5 and not found.passed
    change = next(c for c in found.cells if c.name == "batch/contrast/5")
    base, now = (np.array(tops(paths, "batch", "contrast", 5)) for paths in (old, new))
    expected = stats.ttest_rel(now, base)
    assert change.base == pytest.approx(base.mean()) and change.new == pytest.approx(now.mean())
    assert change.p == pytest.approx(expected.pvalue)
    assert change.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert any("means of 5 seeds" in line for line in basis(found))
    assert not any("McNemar" in line for line in basis(found))


def test_nothing_changed_is_no_change(tmp_path: Path) -> None:
    runs = write(tmp_path / "runs", {3: 0.0, 11: 0.0})
    found = compare_seeds(runs, runs)
    assert found.passed and {change.p for change in found.cells} == {1.0}
    assert [path.name for path in runs] == ["seed-3", "seed-11"]


def test_rules_hold_for_the_means(tmp_path: Path) -> None:
    old = write(tmp_path / "old", {0: 0.0, 1: 0.0})
    new = write(tmp_path / "new", {0: 0.0, 1: 0.1})
    assert not compare_seeds(old, new, rules=[parse("mean_corruption_top1:-1pp")]).passed
    assert compare_seeds(old, new, rules=[parse("mean_corruption_top1:-9pp")]).passed
    # Two differences, nothing and a loss: no test finds anything in that.
    assert compare_seeds(old, new, rules=[parse("mean_corruption_top1:-1pp")], significance=0.05).passed


def test_seeds_that_do_not_pair_are_refused(tmp_path: Path) -> None:
    three = write(tmp_path / "three", dict.fromkeys(range(3), 0.0))
    for other in (three[:2], three[:1]):
        with pytest.raises(RecordError, match="cannot be paired"):
            compare_seeds(three, other)
    with pytest.raises(RecordError, match="cannot be paired"):
        compare_seeds(three[:1], three[:1])


def test_evaluate_makes_what_compare_reads(lnbench: Lnbench, tmp_path: Path) -> None:
    model, weights, data = write_task(tmp_path)
    command = ["evaluate", "--model", model, "--weights", weights, "--data", data, "--corruption", "contrast",
               "--severity", 5, "--batch-size", 30, "--norm", "fixed,ema", "--seeds", 2,
               "--seed", 4]  # fmt: skip
    refused = lnbench(*command)
    assert refused.code == 2 and "--seeds needs --out" in refused.err
    for name in ("old", "new"):
        ran = lnbench(*command, "--out", tmp_path / name)
        assert ran.code == 0, ran.err
    assert {path.name for path in (tmp_path / "old").iterdir()} == {"seed-4", "seed-5"}
    ran = lnbench("compare", tmp_path / "old", tmp_path / "new", "--markdown", tmp_path / "said.md")
    assert ran.code == 0 and "PASS" in ran.out
    assert "means of 2 seeds" in (tmp_path / "said.md").read_text()
    assert lnbench("compare", tmp_path / "old", tmp_path / "new", "--power", "1pp").code == 2
