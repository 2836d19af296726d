"""Data that a mode looks at first, where it is not the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lnbench import config
from lnbench.errors import DataError, LnbenchError, RecordError, UsageError
from lnbench.evaluate import evaluation
from lnbench.results.schema import Record
from tests.networks import pictures, write_task

EATA = "eata:lr=0.05,margin=0.9,d=2,alpha=200,fisher=30"
IMAGES = 90


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder = tmp_path_factory.mktemp("task")
    images, labels = pictures(100, seed=8)
    np.savez(folder / "other.npz", images=images, labels=labels)
    images, labels = pictures(64, side=48)
    np.savez(folder / "large.npz", images=images, labels=labels)
    np.savez(folder / "few.npz", images=images[:20], labels=labels[:20])
    for number, (picture, label) in enumerate(zip(*pictures(40), strict=True)):
        place = folder / "corrupted" / "contrast" / "5" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture // 4 + 96).save(place / f"{number}.png")
    return write_task(folder, IMAGES)


def run(task: tuple[str, str, str], mode: str, out: Path, **options: Any) -> Record:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise", "contrast"],
              "severities": [5], "batch_size": 30, "modes": [mode], **options}  # fmt: skip
    resolved = config.resolve(config.load_preset("core"), chosen)
    (outcome,) = evaluation.evaluate(evaluation.prepare_all([resolved]), [out])
    return outcome.record


def place(task: tuple[str, str, str], name: str) -> Path:
    return Path(task[1]).with_name(name)


@pytest.mark.parametrize("protocol", [{}, {"sequence": "continual"}, {"mixed": True}])
def test_another_source_decides_and_the_runs_own_is_no_other(
    task: tuple[str, str, str], tmp_path: Path, protocol: dict[str, Any]
) -> None:
    mode = EATA.replace("fisher=30", f"fisher={IMAGES}")
    own = run(task, mode, tmp_path / "own", **protocol)
    same = run(task, f"{mode},source={task[2]}", tmp_path / "same", **protocol)
    other = run(task, f"{mode},source=npz:{place(task, 'other.npz')}", tmp_path / "other", **protocol)
    assert [cell.scores for cell in own.cells] == [cell.scores for cell in same.cells]
    assert [cell.scores for cell in own.cells] != [cell.scores for cell in other.cells]
    (name,) = other.suite.modes
    assert f"mode {name}: looked at 90 of 100 images of npz:{place(task, 'other.npz')}" in other.deviations
    assert other.config["sources"][name]["images"] == 90  # type: ignore[call-overload, index]
    assert "sources" not in own.config


def test_a_source_that_changed_is_another_run(task: tuple[str, str, str], tmp_path: Path) -> None:
    file = tmp_path / "clean.npz"
    images, labels = pictures(64, seed=8)
    np.savez(file, images=images, labels=labels)
    run(task, f"{EATA},source={file}", tmp_path / "run")
    np.savez(file, images=images[::-1], labels=labels)
    with pytest.raises(RecordError, match="holds another run"):
        run(task, f"{EATA},source={file}", tmp_path / "run")


def test_a_corrupted_set_has_a_source_beside_it(task: tuple[str, str, str], tmp_path: Path) -> None:
    data = f"imagenet-c:{place(task, 'corrupted')}"
    found = run(task, f"{EATA},source={task[2]}", tmp_path / "run", data=data, corruptions=["contrast"])
    assert [str(cell.condition) for cell in found.cells] == ["contrast/5"]
    with pytest.raises(UsageError, match="a corrupted set has none: give others by source=DATA"):
        run(task, EATA, tmp_path / "none", data=data, corruptions=["contrast"])


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("npz:{few.npz}", UsageError, r"few\.npz has only 20 images; ask for fewer"),
        ("npz:{large.npz}", DataError, r"has images of 48×48 px, the run's have 32×32; give --resize"),
        ("imagenet-c:{corrupted}", UsageError, "is a corrupted set; source= takes images without corruption"),
        ("npz:{missing.npz}", DataError, r"missing\.npz"),
        ("folders:{few.npz}", UsageError, "unknown kind of data 'folders'.*did you mean folder"),
    ],
)
def test_what_cannot_be_a_source_is_refused_before_the_run(
    task: tuple[str, str, str], tmp_path: Path, name: str, error: type[LnbenchError], says: str
) -> None:
    kind, _, file = name.removesuffix("}").partition("{")
    with pytest.raises(error, match=says) as caught:
        run(task, f"{EATA},source={kind}{place(task, file)}", tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
