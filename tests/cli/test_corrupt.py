"""`corrupt-preview` and `corrupt-export` through their real entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Lnbench
from tests.cli.test_evaluate import cells
from tests.networks import write_task

NOISE = ["--corruption", "gaussian_noise", "--corruption", "contrast"]


def test_a_sheet_of_the_bundled_photograph(lnbench: Lnbench, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    ran = lnbench("corrupt-preview", "-o", out, *NOISE, "--severity", 1, "--severity", 5)
    assert (ran.code, ran.out.strip()) == (0, str(out))
    with Image.open(out) as sheet:
        # A clean column and two severities, two rows, with room for titles and names.
        assert sheet.width > 3 * 224 and sheet.height > 2 * 224
        plain = np.asarray(sheet.convert("RGB")).astype(int)
    lnbench("corrupt-preview", "-o", out, *NOISE, "--severity", 1, "--severity", 5, "--histograms")
    with Image.open(out) as sheet:
        assert sheet.height > len(plain)


def test_the_clean_column_is_the_picture_and_contrast_5_is_nearly_flat(
    lnbench: Lnbench, tmp_path: Path
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "in.png")
    out = tmp_path / "sheet.png"
    ran = lnbench("corrupt-preview", tmp_path / "in.png", "-o", out, "--preset", "tiny-imagenet-c",
                  "--corruption", "contrast", "--severity", 5)  # fmt: skip
    assert ran.code == 0, ran.err
    with Image.open(out) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    # 64 px tiles are shown twice as large; the last two columns end six pixels before the edge.
    corrupted = pixels[-6 - 128 : -6 : 2, -6 - 128 : -6 : 2]
    clean = pixels[-6 - 128 : -6 : 2, -12 - 256 : -12 - 128 : 2]
    assert np.array_equal(clean, picture)
    assert corrupted.std() < 0.1 * clean.std()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_suffix_chooses_the_format(lnbench: Lnbench, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"sheet{suffix}"
    assert lnbench("corrupt-preview", "-o", out, *NOISE, "--severity", 3, "--resize", 64).code == 0
    with Image.open(out) as sheet:
        assert sheet.format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]


def test_both_backends_stand_side_by_side(lnbench: Lnbench, tmp_path: Path) -> None:
    """Contrast has one definition: its difference row is plain grey."""
    out = tmp_path / "sheet.png"
    ran = lnbench(
        "corrupt-preview", "-o", out, "--corruption", "contrast", "--severity", 3, "--backend", "both"
    )
    assert ran.code == 0, ran.err
    with Image.open(out) as sheet:
        difference = np.asarray(sheet.convert("RGB"))[-6 - 224 : -6, -6 - 224 : -6]
    assert np.abs(difference.astype(int) - 128).max() <= 8  # one level, shown eightfold
    assert (difference == 128).mean() > 0.99


WRONG: dict[str, tuple[list[str], int, str]] = {
    "suffix": (["corrupt-preview", "-o", "sheet.gif"], 2, "can be written as .png"),
    "no such picture": (["corrupt-preview", "absent.png"], 3, "cannot read absent.png"),
    "not a picture": (["corrupt-preview", "{text}"], 3, "is not a readable image"),
    "unwritable": (["corrupt-preview", "-o", "absent/sheet.png"], 3, "cannot write absent/sheet.png"),
    "small": (["corrupt-preview", "--resize", "16"], 2, "32 to 8192"),
    "backend": (["corrupt-preview", "--backend", "bth"], 2, "did you mean both"),
    "corruption": (["corrupt-preview", "--corruption", "fogg"], 2, "did you mean fog"),
    "severity": (["corrupt-preview", "--severity", "9"], 2, "outside 1–5"),
    "reference table": (
        ["corrupt-preview", "--preset", "cifar10-c", "--backend", "reference"], 2, "table imagenet only",
    ),
    "layout": (["corrupt-export", "demo", "out", "--layout", "zip"], 2, "layout"),
    "quality": (["corrupt-export", "demo", "out", "--layout", "cifar-c", "--quality", "85"], 2, "quality"),
    "few severities": (
        ["corrupt-export", "demo", "out", "--layout", "cifar-c", "--severity", "3"], 2, "severities 1 to 5",
    ),
    "no such data": (["corrupt-export", "folder:absent", "out", "--layout", "cifar-c"], 3, "absent"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gives_one_line_and_leaves_nothing(
    lnbench: Lnbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    words, code, message = WRONG[case]
    (tmp_path / "here").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path / "here")
    command = [word.format(text=tmp_path / "text.png") for word in words]
    ran = lnbench(*command, *(["--severity", "3"] if command[0] == "corrupt-preview" else []))
    assert ran.code == code, ran
    assert message in ran.err and "Traceback" not in ran.err, ran.err
    assert [path for path in Path().rglob("*") if path.is_file()] == []


@pytest.fixture
def task(tmp_path: Path) -> list[str]:
    return list(write_task(tmp_path, images=24))


@pytest.mark.parametrize("layout", ["imagenet-c", "cifar-c"])
def test_what_is_exported_evaluates_to_the_same_numbers(
    lnbench: Lnbench, task: list[str], tmp_path: Path, layout: str
) -> None:
    model, weights, data = task
    suite = ["--preset", "cifar10-c", *NOISE, "--seed", 3]
    ran = lnbench("corrupt-export", data, tmp_path / "set", "--layout", layout, *suite)
    assert ran.code == 0, ran.err
    assert "11 conditions written" in ran.out
    again = lnbench("corrupt-export", data, tmp_path / "set", "--layout", layout, *suite)
    assert "0 conditions written, 11 were there already" in again.out
    options: list[Any] = [
        "--model",
        model,
        "--weights",
        weights,
        *suite,
        "--norm",
        "fixed",
        "--norm",
        "adapt:n=8",
    ]
    assert lnbench("evaluate", *options, "--data", data, "--out", tmp_path / "memory").code == 0
    kind = "imagenet-c" if layout == "imagenet-c" else "cifar10-c"
    ran = lnbench("evaluate", *options, "--data", f"{kind}:{tmp_path / 'set'}", "--out", tmp_path / "disk")
    assert ran.code == 0, ran.err
    memory, disk = cells(tmp_path / "memory"), cells(tmp_path / "disk")
    assert memory.keys() == disk.keys()
    for key, cell in memory.items():
        assert (cell["top1"], cell["images"]) == (disk[key]["top1"], disk[key]["images"]), key
        # A folder lists its classes one by one: chunks hold other images and may round otherwise.
        if key[0] == "fixed":
            assert cell["nll"] == pytest.approx(disk[key]["nll"], abs=1e-6), key
