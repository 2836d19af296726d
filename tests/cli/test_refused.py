"""What `lnbench evaluate` refuses, each in one line with its code, and what it doubts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Lnbench


def test_wrong_preprocessing_is_noticed(lnbench: Lnbench, shared: Path, tmp_path: Path) -> None:
    common = ["evaluate", "--model", "cifar:resnet20", "--limit", 100, "--corruption", "clean",
              "--weights", shared / "checkpoints" / "cifar10_resnet20-12fca82f.th",
              "--data", shared / "data" / "cifar10_test_846.npz", "--norm", "fixed"]  # fmt: skip
    right = lnbench(*common, "--out", tmp_path / "right")
    assert "warning" not in right.err
    plain = lnbench(*common, "--mean", "0,0,0", "--std", "1,1,1", "--out", tmp_path / "plain")
    assert "with ImageNet mean/std it would be" in plain.err
    range_255 = lnbench(
        *common, "--mean", "0,0,0", "--std", "0.0039215,0.0039215,0.0039215", "--out", tmp_path / "range"
    )
    assert "with ImageNet mean/std it would be" in range_255.err
    assert "chance is 10.0%" in range_255.err


WRONG = {
    "no model": (["--data", "demo"], 2, "give --model"),
    "unknown model": (["--model", "cifar:resnet21", "--data", "demo"], 2, "resnet20"),
    "unknown preset": (["--preset", "imagenetc"], 2, "did you mean imagenet-c"),
    "unknown mode": (["--norm", "fixt"], 2, "did you mean fixed"),
    "unknown corruption": (["--corruption", "gauss_noise"], 2, "did you mean gaussian_noise"),
    "severity": (["--severity", "6"], 2, "severity 6 is outside 1–5"),
    "severity in between": (["--severity", "2.5"], 2, "2.5"),
    "mean": (["--mean", "0.5"], 2, "--mean takes three numbers"),
    "std": (["--std", "0,1,1"], 2, "--std must be positive"),
    "crop": (["--crop", "ten"], 2, "--crop takes pixels"),
    "small crop": (["--crop", "16"], 2, "32 to 8192 pixels"),
    "interpolation": (["--interpolation", "cubic"], 2, "interpolation"),
    "precision": (["--precision", "int8"], 2, "precision"),
    "device": (["--device", "tpu"], 2, "--device tpu"),
    "backend": (["--backend", "other"], 2, "backend"),
    "reference table": (["--preset", "cifar10-c", "--backend", "reference"], 2, "table imagenet only"),
    "limit": (["--limit", "0"], 2, "limit"),
    "too many to adapt": (["--norm", "adapt:n=61"], 2, "only 60 images"),
    "no such weights": (["--weights", "absent.pth"], 3, "absent.pth"),
    "no weights match": (["--weights", "absent*.pth"], 2, "no file matches"),
    "no such data": (["--data", "folder:absent"], 3, "absent"),
    "unknown data": (["--data", "gif:absent"], 2, "gif"),
    "out is a file": (["--out", "{task}/net.py"], 3, "net.py"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gives_one_line_and_a_code(
    lnbench: Lnbench, task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    options, code, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    base = dict(zip(task[::2], task[1::2], strict=True)) if case != "no model" else {}
    given = [option.format(task=Path(task[3]).parent) for option in options]
    base |= dict(zip(given[::2], given[1::2], strict=True))
    ran = lnbench("evaluate", "--corruption", "contrast", *(word for pair in base.items() for word in pair))
    assert (ran.code, ran.out) == (code, ""), ran
    *_, last = ran.err.splitlines()
    assert message in last and last.startswith("lnbench: "), ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_does_not_fit_and_labels_that_do_not(
    lnbench: Lnbench, task: list[str], tmp_path: Path
) -> None:
    ran = lnbench("evaluate", "--model", "cifar:resnet20", *task[2:], "--out", tmp_path / "run")
    assert ran.code == 3 and "missing" in ran.err and "Traceback" not in ran.err
    np.savez(tmp_path / "many.npz", images=np.zeros((8, 32, 32, 3), np.uint8), labels=np.arange(8))
    ran = lnbench("evaluate", *task[:4], "--data", f"npz:{tmp_path / 'many.npz'}", "--out", tmp_path / "run")
    assert ran.code == 3 and "labels up to 7" in ran.err and "only 4 classes" in ran.err
    assert not (tmp_path / "run").exists()
