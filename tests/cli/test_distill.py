"""`lnbench convert --distill` through its real entry: what it writes and says, and that no label counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lnbench.models import checkpoint
from lnbench.training.convert import training_state
from tests.cli.conftest import Lnbench
from tests.networks import pictures, write_task


@pytest.fixture
def task(tmp_path: Path) -> tuple[str, str]:
    """Model spec and checkpoint beside data.npz and others.npz, the same images with other labels."""
    model, weights, _ = write_task(tmp_path)
    pixels, labels = pictures(90)
    np.savez(tmp_path / "others.npz", images=pixels, labels=np.flip(labels) % 3 + 4)
    return model, weights


QUICK = ("--epochs", 2, "--batch-size", 16, "--device", "cpu")


def distilled(
    lnbench: Lnbench, task: tuple[str, str], data: Path, out: Path, *more: object
) -> tuple[str, checkpoint.Checkpoint]:
    model, weights = task
    ran = lnbench("convert", weights, "--model", model, "-o", out, "--to", "localnorm", "--layers", "first1",
                  "--distill", f"npz:{data}", *QUICK, *more)  # fmt: skip
    assert ran.code == 0, ran.err
    return ran.out, checkpoint.read(out)


def test_it_converts_reports_and_can_be_evaluated(
    lnbench: Lnbench, task: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "taught.safetensors"
    said, saved = distilled(lnbench, task, tmp_path / "data.npz", out)
    said = " ".join(said.split())
    assert "1 BatchNorm layer became LocalNorm with 1 group:" in said
    assert "distilled for 2 epochs on 81 images" in said and "weights and biases of the LocalNorm" in said
    assert "held out (9 images), local:layers=localnorm agrees with the original: " in said
    assert saved.metadata["distill_trained"] == "norm" and saved.metadata["distill_images"] == "81"
    assert set(json.loads(saved.metadata["agreement"])) == {"local:layers=localnorm", "fixed"}
    original = checkpoint.read(Path(task[1])).tensors
    assert saved.tensors["1.weight"].shape == (1, 8)
    assert not torch.equal(saved.tensors["1.weight"][0], original["1.weight"])
    others = [name for name in original if name not in ("1.weight", "1.bias")]
    assert all(torch.equal(saved.tensors[name], original[name]) for name in others)
    assert not training_state(out).exists()
    ran = lnbench("evaluate", "--preset", "core", "--model", task[0], "--weights", out, "--data",
                  f"npz:{tmp_path / 'data.npz'}", "--norm", "local:layers=localnorm", "--corruption",
                  "contrast", "--severity", 5, "--out", tmp_path / "run")  # fmt: skip
    assert ran.code == 0, ran.err


def test_labels_count_for_nothing(lnbench: Lnbench, task: tuple[str, str], tmp_path: Path) -> None:
    """Not even labels of other classes than the network has."""
    _, first = distilled(lnbench, task, tmp_path / "data.npz", tmp_path / "a.pth", "--train", "all")
    _, second = distilled(lnbench, task, tmp_path / "others.npz", tmp_path / "b.pth", "--train", "all")
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


BAD = {
    "labels too": ("give one", "--finetune npz:data.npz"),
    "groups": ("leave --groups and --group-images out", "--groups 2"),
    "group images": ("leave --groups and --group-images out", "--group-images 1"),
    "another target": ("--distill goes with --to localnorm", "--to adapted --calibrate npz:data.npz"),
    "what learns": ("did you mean norm", "--train norms"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_what_cannot_work_is_refused_in_one_line(
    lnbench: Lnbench,
    task: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    target = () if "--to" in words else ("--to", "localnorm")
    ran = lnbench("convert", task[1], "--model", task[0], "-o", "x.pth", "--distill", "npz:data.npz",
                  *target, *words.split())  # fmt: skip
    assert ran.code == 2 and text in ran.err and len(ran.err.splitlines()) == 1
    assert not (tmp_path / "x.pth").exists()


def test_train_goes_with_distill(lnbench: Lnbench, task: tuple[str, str], tmp_path: Path) -> None:
    ran = lnbench("convert", task[1], "--model", task[0], "-o", tmp_path / "x.pth", "--to", "localnorm",
                  "--train", "all")  # fmt: skip
    assert ran.code == 2 and "--train goes with --distill" in ran.err
