"""Sets that are corrupted already: every condition is known by its own images, and paired by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lnbench.results.correct import read_correct
from lnbench.results.reading import read
from lnbench.types import Condition
from tests.cli.conftest import Lnbench
from tests.networks import pictures, write_task

BOTH = ["--corruption", "contrast", "--corruption", "fog"]


@pytest.fixture
def task(tmp_path: Path) -> tuple[list[str], Path]:
    """Options for a CIFAR-C set of two corruptions, and its folder."""
    write_task(tmp_path, images=20)
    with (tmp_path / "net.py").open("a") as file:
        file.write("\ndef ten():\n    torch.manual_seed(1)\n    return tiny(10)\n")
    folder = tmp_path / "set"
    folder.mkdir()
    images, labels = pictures(20)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    for number, name in enumerate(("contrast", "fog")):
        levels = [images // 2 + number + 10 * severity for severity in range(5)]
        np.save(folder / f"{name}.npy", np.concatenate(levels).astype(np.uint8))
    return [
        "evaluate",
        "--model",
        f"{tmp_path / 'net.py'}:ten",
        "--data",
        f"cifar10-c:{folder}",
        *BOTH,
    ], folder


def invert(folder: Path) -> None:
    np.save(folder / "fog.npy", 255 - np.load(folder / "fog.npy"))


def test_every_cell_knows_its_own_images(
    lnbench: Lnbench, task: tuple[list[str], Path], tmp_path: Path
) -> None:
    command, folder = task
    assert lnbench(*command, "--norm", "fixed", "--out", tmp_path / "one").code == 0
    invert(folder)
    assert lnbench(*command, "--norm", "fixed", "--out", tmp_path / "two").code == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert len({cell.fingerprint for cell in one.cells}) == 10
    same = [a.condition for a, b in zip(one.cells, two.cells, strict=True) if a.fingerprint == b.fingerprint]
    assert {condition.corruption for condition in same} == {"contrast"}
    assert one.data.fingerprint == two.data.fingerprint
    ran = lnbench("compare", tmp_path / "one", tmp_path / "two")
    assert ran.code == 3 and "different images of fog/1" in ran.err


def test_modes_of_a_condition_are_not_mixed_over_other_images(
    lnbench: Lnbench, task: tuple[list[str], Path], tmp_path: Path
) -> None:
    command, folder = task
    command = [*command, "--norm", "fixed", "--norm", "batch", "--out", str(tmp_path / "run")]
    assert lnbench(*command).code == 0
    file = tmp_path / "run" / "cells.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["mode"] == "batch"
    file.write_text("".join(lines[:-1]))
    invert(folder)
    ran = lnbench(*command)
    assert ran.code == 3 and "the images of fog/5 changed since other modes were counted" in ran.err


def write_folders(folder: Path, damaged: dict[str, int]) -> None:
    images, labels = pictures(20)
    for name in ("contrast", "fog"):
        for image, label, number in zip(images, labels, range(20), strict=True):
            file = folder / name / "3" / f"class{label}" / f"{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
            if damaged.get(name) == number:
                file.write_bytes(b"no picture")


def test_conditions_that_lack_different_images_are_paired_by_image(lnbench: Lnbench, tmp_path: Path) -> None:
    """Nothing is corrupted, so that every image's answer is the same under both conditions."""
    model, weights, _ = write_task(tmp_path, images=20)
    write_folders(tmp_path / "holes", {"contrast": 5, "fog": 6})
    data = f"imagenet-c:{tmp_path / 'holes'}"
    command = ["evaluate", "--model", model, "--weights", weights, "--data", data]
    command += [*BOTH, "--norm", "fixed", "--skip-unreadable"]
    assert lnbench(*command, "--out", tmp_path / "run").code == 0
    record = read(tmp_path / "run")
    correct = read_correct(tmp_path / "run", record)
    assert correct is not None and correct.ids is not None and len(correct.ids) == 19
    contrast, fog = (("fixed", Condition(name, 3)) for name in ("contrast", "fog"))
    assert set(correct.own) == {fog}
    answers = dict(zip(correct.ids.tolist(), correct.flags[contrast], strict=True))
    others = dict(zip(correct.own[fog].tolist(), correct.flags[fog], strict=True))
    shared = set(answers) & set(others)
    assert len(shared) == 18 and all(answers[k] == others[k] for k in shared)
    assert any("fog/3: 19 images, 1 unreadable ones left out" in text for text in record.deviations)
    assert record.summary["fixed"].mean_corruption_interval is None
    assert lnbench("compare", tmp_path / "run", tmp_path / "run", "--fail-if", "top1:-1pp").code == 0
    assert lnbench("report", tmp_path / "run", "-o", tmp_path / "page.html").code == 0
