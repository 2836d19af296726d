"""A set that was corrupted, written and read back is the set that was corrupted in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Lnbench
from tests.networks import pictures, write_task

SMALL = ["--corruption", "gaussian_noise", "--corruption", "contrast", "--severity", 2, "--severity", 5,
         "--norm", "fixed", "--norm", "batch", "--batch-size", 20]  # fmt: skip
SIZES = ["--resize", 44, "--crop", 40]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def figures(folder: Path) -> dict[tuple[str, str, float], tuple[float, float]]:
    """What was counted in each cell."""
    return {
        (cell["mode"], cell["corruption"], cell["severity"]): (cell["top1"], cell["nll"])
        for cell in record(folder)["cells"]
    }


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Options that name a tiny network, and class folders of 60 pictures of 56 px."""
    folder = tmp_path_factory.mktemp("task")
    model, weights, _ = write_task(folder, images=8)
    pixels, labels = pictures(60, 56)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / "photographs" / f"class {label}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(path)
    return ["--model", model, "--weights", weights], folder / "photographs"


def test_exported_and_read_back_every_cell_is_equal(
    lnbench: Lnbench, task: tuple[list[str], Path], tmp_path: Path
) -> None:
    network, data = task
    ran = lnbench("evaluate", *network, "--data", f"folder:{data}", *SMALL, *SIZES, "--out", tmp_path / "a")
    assert ran.code == 0, ran.err
    ran = lnbench("corrupt-export", f"folder:{data}", tmp_path / "set", "--layout", "imagenet-c",
                  "--preset", "core", "--corruption", "gaussian_noise", "--corruption", "contrast",
                  "--severity", 2, "--severity", 5, *SIZES)  # fmt: skip
    assert ran.code == 0, ran.err
    stored = f"imagenet-c:{tmp_path / 'set'}"
    ran = lnbench("evaluate", *network, "--data", stored, *SMALL, *SIZES, "--out", tmp_path / "b")
    assert ran.code == 0, ran.err
    assert figures(tmp_path / "a") == figures(tmp_path / "b")
    assert record(tmp_path / "b")["model"]["preprocessing"]["resize"] is None
    assert "brought to" not in ran.err


def test_stored_images_of_another_size_are_brought_to_it_and_it_is_said(
    lnbench: Lnbench, task: tuple[list[str], Path], tmp_path: Path
) -> None:
    network, data = task
    ran = lnbench("corrupt-export", f"folder:{data}", tmp_path / "set", "--layout", "imagenet-c",
                  "--corruption", "contrast", "--severity", 5, "--resize", 48, "--crop", 48)  # fmt: skip
    assert ran.code == 0, ran.err
    ran = lnbench("evaluate", *network, "--data", f"imagenet-c:{tmp_path / 'set'}", *SIZES,
                  "--norm", "fixed", "--out", tmp_path / "run")  # fmt: skip
    assert ran.code == 0, ran.err
    said = "stored corrupted images of 48×48 px brought to 40×40 px"
    assert said in ran.err.replace("\n", " ")
    assert any(said in text for text in record(tmp_path / "run")["deviations"])


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_exif_and_other_files_are_on_record(
    exif: str, lnbench: Lnbench, task: tuple[list[str], Path], tmp_path: Path
) -> None:
    network, data = task
    root = tmp_path / "photographs"
    for path in data.rglob("*.png"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        turned = Image.Exif()
        turned[0x0112] = 6 if path.stem == "00" else 1
        Image.open(path).save(root / path.parent.name / path.name, exif=turned)
    (root / "class 1" / "readme.txt").write_text("x")
    ran = lnbench("evaluate", *network, "--data", f"folder:{root}", *SIZES, "--corruption", "clean",
                  "--norm", "fixed", "--exif", exif, "--out", tmp_path / "run")  # fmt: skip
    assert ran.code == 0, ran.err
    kept = " ".join(record(tmp_path / "run")["deviations"])
    said = {"ignore": "EXIF orientation of 1 image ignored", "apply": "EXIF orientation applied to 1 image"}
    assert said[exif] in kept and "1 file of other kinds left out (1 .txt)" in kept
    ran = lnbench("evaluate", *network, "--data", f"folder:{root}", "--exif", "sometimes")
    assert ran.code == 2 and "exif" in ran.err
