"""The pytest helper on a tiny network: passes on itself, catches a seeded regression."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lnbench.errors import RecordError, UsageError
from lnbench.models import checkpoint
from lnbench.testing import assert_no_regression
from tests.networks import pictures, trained, write_task

OPTIONS = {"corruptions": ["gaussian_noise", "contrast"], "severities": [5]}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, str]:
    folder = tmp_path_factory.mktemp("task")
    return folder, *write_task(folder, images=120)


@pytest.fixture(scope="module")
def baseline(task: tuple[Path, str, str, str]) -> Path:
    folder, model, weights, data = task
    file = folder / "baseline.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LNBENCH_UPDATE_BASELINE", "1")
        assert assert_no_regression(file, model, data, weights=weights, **OPTIONS) is None
    return file


def test_the_same_weights_pass(task: tuple[Path, str, str, str], baseline: Path) -> None:
    _, model, weights, data = task
    found = assert_no_regression(baseline, model, data, weights=weights, **OPTIONS)
    assert found is not None and found.count("same") == len(found.cells) > 0
    assert all(change.difference == 0 for change in found.cells)
    strict = assert_no_regression(baseline, model, data, weights=weights, fail_if=["top1:-0pp"], **OPTIONS)
    assert strict is not None and strict.passed


def test_a_seeded_regression_is_caught(task: tuple[Path, str, str, str], baseline: Path) -> None:
    """The last layer's weights are perturbed, more and more, until the clean accuracy is a point lower."""
    folder, model, weights, data = task
    tensors = checkpoint.read(Path(weights)).tensors
    noise = torch.randn(tensors["8.weight"].shape, generator=torch.Generator().manual_seed(0))
    for strength in (0.1, 0.2, 0.4, 0.8, 1.6):
        worse = {**tensors, "8.weight": tensors["8.weight"] + strength * noise}
        checkpoint.write(folder / "worse.pth", worse, extras={}, metadata={})
        options = {"weights": str(folder / "worse.pth"), **OPTIONS}
        found = assert_no_regression(baseline, model, data, fail_if=["clean_top1:-100pp"], **options)
        assert found is not None
        clean = next(change for change in found.headlines if change.name == "fixed/clean_top1")
        if clean.difference <= -0.01:
            break
    assert clean.difference <= -0.01
    with pytest.raises(AssertionError, match=r"FAIL: .*\n- fixed: clean"):
        assert_no_regression(baseline, model, data, fail_if=["fixed: clean_top1:-0.5pp"], **options)


@pytest.mark.parametrize("batch_size, threads", [(7, 1), (64, 2), (120, 1)])
def test_batch_size_and_threads_change_no_image(
    task: tuple[Path, str, str, str], baseline: Path, batch_size: int, threads: int
) -> None:
    _, model, weights, data = task
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = assert_no_regression(
            baseline, model, data, weights=weights, batch_size=batch_size, fail_if=["top1:-0pp"], **OPTIONS
        )
    finally:
        torch.set_num_threads(before)
    assert found is not None and all(change.difference == 0 for change in found.cells)


def test_another_seed_is_refused(task: tuple[Path, str, str, str], baseline: Path) -> None:
    _, model, weights, data = task
    with pytest.raises(RecordError, match=r"different seed \(0 and 1\)"):
        assert_no_regression(baseline, model, data, weights=weights, seed=1, **OPTIONS)


def test_a_wrong_rule_ends_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure"):
        assert_no_regression(tmp_path / "none.json", "no:model", "no:data", fail_if=["x:-1pp"])


def test_a_module_and_arrays_are_held_to_the_same_baseline(
    task: tuple[Path, str, str, str], baseline: Path
) -> None:
    network, (images, labels) = trained(), pictures(120)
    found = assert_no_regression(baseline, network, (images, labels), fail_if=["top1:-0pp"], **OPTIONS)
    assert found is not None and all(change.difference == 0 for change in found.cells)
    with torch.no_grad():
        network[8].weight.add_(
            torch.randn(network[8].weight.shape, generator=torch.Generator().manual_seed(0))
        )
    with pytest.raises(AssertionError, match="FAIL"):
        assert_no_regression(baseline, network, (images, labels), **OPTIONS)
