"""`lnbench convert` through its real entry: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lnbench.models import checkpoint
from lnbench.models.cifar import cifar_network
from lnbench.norm import convert, wrap
from lnbench.norm.convert import is_localnorm
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.training import convert as conversion
from lnbench.training.finetune import Standing
from lnbench.training.recipe import Recipe
from lnbench.training.request import Listener, Request
from tests.cli.conftest import Lnbench
from tests.networks import normalized, pictures, tiny, write_task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py, net.pth with other content beside its weights, and data.npz."""
    folder = tmp_path_factory.mktemp("task")
    write_task(folder)
    stored = checkpoint.read(folder / "net.pth")
    extras = {"epoch": 7, "optimizer": {"state": {}}, "note": "mine"}
    checkpoint.write(folder / "net.pth", stored.tensors, extras=extras, metadata={})
    return folder


@pytest.fixture
def task(trained: Path, tmp_path: Path) -> tuple[str, Path, str]:
    """Model spec, checkpoint, data spec, in a folder of the test's own."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return f"{tmp_path / 'net.py'}:tiny", tmp_path / "net.pth", f"npz:{tmp_path / 'data.npz'}"


def converted(lnbench: Lnbench, task: tuple[str, Path, str], out: Path, *options: object) -> str:
    model, weights, _ = task
    ran = lnbench("convert", weights, "--model", model, "-o", out, "--device", "cpu", *options)
    assert ran.code == 0, ran.err
    return ran.out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_to_localnorm_and_back_is_the_identity(
    lnbench: Lnbench, task: tuple[str, Path, str], tmp_path: Path, suffix: str
) -> None:
    local, back = tmp_path / f"local{suffix}", tmp_path / f"back{suffix}"
    said = converted(lnbench, task, local, "--to", "localnorm", "--groups", "4")
    assert "2 BatchNorm layers became LocalNorm with 4 groups" in said
    assert "checked: groups of one batch equal ghost batches" in said
    assert "is the identity, bit for bit" in said
    stored = checkpoint.read(local)
    assert is_localnorm(stored.tensors) == 4
    assert stored.metadata["groups"] == "4"
    assert stored.metadata["origin"] == "net.pth"
    assert stored.metadata["origin_sha256"] == checkpoint.digest(task[1])

    model, weights, _ = task
    said = converted(lnbench, (model, local, ""), back, "--to", "batchnorm")
    assert "2 LocalNorm layers became BatchNorm" in said
    first, last = checkpoint.read(weights).tensors, checkpoint.read(back).tensors
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_other_content_is_kept_or_its_removal_said(
    lnbench: Lnbench, task: tuple[str, Path, str], tmp_path: Path
) -> None:
    said = converted(lnbench, task, tmp_path / "local.pth", "--to", "localnorm")
    assert "kept beside the weights: epoch, note" in said
    assert "removed, as they belong to the old weights: optimizer" in said
    assert set(checkpoint.read(tmp_path / "local.pth").extras) == {"epoch", "note"}


def test_adapted_stores_what_mode_adapt_uses(
    lnbench: Lnbench, task: tuple[str, Path, str], tmp_path: Path
) -> None:
    _, weights, data = task
    out = tmp_path / "adapted.pth"
    said = converted(lnbench, task, out, "--to", "adapted", "--calibrate", data, "-n", "16")
    assert "checked: `fixed` now equals `adapt` before" in said
    assert "kept beside the weights: epoch, optimizer, note" in said
    # An ordinary checkpoint: plain torch loads it, and its statistics are those of mode `adapt`.
    plain = tiny()
    plain.load_state_dict(torch.load(out, weights_only=True)["state_dict"])
    original = tiny()
    checkpoint.fit(original, checkpoint.read(weights))
    pixels, _ = pictures(90)
    from lnbench.data.batches import shuffled

    chosen = torch.from_numpy(pixels[shuffled(90, 0)[:16]].transpose(0, 3, 1, 2).copy())
    layers = wrap.attach(original.eval())
    mode, state = parse("adapt:n=16"), State()
    layers.use(mode, state)
    with torch.inference_mode():
        mode.begin(lambda pixels: original(normalized(pixels)), lambda *_: chosen, state)
        expected = original(normalized(chosen))
        found = plain.eval()(normalized(chosen))
    # pixels are scaled in one multiply-add there and in three operations here
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_fine_tuning_trains_reports_and_cleans_up(
    lnbench: Lnbench, task: tuple[str, Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "tuned.safetensors"
    said = converted(
        lnbench, task, out, "--to", "localnorm", "--groups", "2", "--finetune", task[2], "--epochs", "2",
        "--batch-size", "16", "--group-images", "1,8", "--lr", "0.05",
    )  # fmt: skip
    assert "fine-tuned for 2 epochs on 81 images" in said
    assert "held out (9 images), local:" in said
    stored = checkpoint.read(out)
    assert json.loads(stored.metadata["finetune_recipe"])["group_images"] == [1, 8]
    weight = stored.tensors["1.weight"]
    assert weight.shape == (2, 8) and not torch.equal(weight[0], weight[1])
    assert not conversion.training_state(out).exists()


def test_a_fine_tuning_that_was_stopped_goes_on(task: tuple[str, Path, str], tmp_path: Path) -> None:
    model, weights, data = task

    def request(out: str) -> Request:
        recipe = Recipe(epochs=3, batch_size=16)
        return Request(
            source=weights, model=model, to="localnorm", output=tmp_path / out, groups=2, train_on=data,
            recipe=recipe,
        )  # fmt: skip

    def stop(progress: Standing) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversion.run(request("a.pth"), Listener(training=stop))
    assert not (tmp_path / "a.pth").exists()
    assert conversion.training_state(tmp_path / "a.pth").exists()
    conversion.run(request("a.pth"))
    conversion.run(request("b.pth"))
    first, second = (checkpoint.read(tmp_path / name).tensors for name in ("a.pth", "b.pth"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_of_an_old_checkpoint_converts(lnbench: Lnbench, tmp_path: Path) -> None:
    network = cifar_network("resnet20", 10)
    tensors = {n: v for n, v in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    named = {f"module.{name}": value for name, value in tensors.items()}
    checkpoint.write(tmp_path / "old.th", named, extras={"best_prec1": 91.7}, metadata={})
    said = converted(
        lnbench, ("cifar:resnet20", tmp_path / "old.th", ""), tmp_path / "new.pth", "--to", "localnorm"
    )
    assert "19 BatchNorm layers became LocalNorm with 8 groups" in said
    assert "kept beside the weights: best_prec1" in said


def test_some_layers_convert_train_and_are_evaluated(lnbench: Lnbench, tmp_path: Path) -> None:
    network = cifar_network("resnet20", 10)
    checkpoint.write(tmp_path / "net.pth", network.state_dict(), extras={}, metadata={})
    pixels, _ = pictures(40)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.arange(40) % 10)
    said = converted(
        lnbench,
        ("cifar:resnet20", tmp_path / "net.pth", ""),
        tmp_path / "part.pth",
        *("--to", "localnorm", "--groups", 2, "--layers", "bn1,layer1"),
        *("--finetune", f"npz:{tmp_path / 'data.npz'}", "--epochs", 1, "--batch-size", 8),
    )
    assert "7 BatchNorm layers became LocalNorm with 2 groups" in said
    assert "12 others stay as they are: layer2.0.bn1, layer2.0.bn2, layer2.1.bn1, …" in said
    assert "local:layers=localnorm: " in said
    saved = checkpoint.read(tmp_path / "part.pth")
    assert saved.metadata["layers"] == "bn1,layer1"
    ran = lnbench(
        *("evaluate", "--preset", "core", "--model", "cifar:resnet20", "--weights", tmp_path / "part.pth"),
        *("--data", f"npz:{tmp_path / 'data.npz'}", "--norm", "local", "--norm", "local:layers=localnorm"),
        *("--corruption", "contrast", "--severity", 5, "--out", tmp_path / "run"),
    )
    assert ran.code == 0, ran.err
    assert "local:layers=localnorm" in ran.out
    assert "12 of 19 layers are not LocalNorm" in " ".join(ran.err.split())
    back = converted(
        lnbench,
        ("cifar:resnet20", tmp_path / "part.pth", ""),
        tmp_path / "back.pth",
        *("--to", "batchnorm"),
    )
    assert "7 LocalNorm layers became BatchNorm" in back
    cifar_network("resnet20", 10).load_state_dict(checkpoint.read(tmp_path / "back.pth").tensors)


def test_a_conversion_that_fails_its_own_check_writes_nothing(
    lnbench: Lnbench, task: tuple[str, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = convert.convert_localnorm

    def wrong(module: nn.Module, groups: int, layers: tuple[str, ...] = ()) -> nn.Module:
        made = right(module, groups, layers)
        with torch.no_grad():
            made.get_parameter("1.weight")[1] += 1
        return made

    monkeypatch.setattr(convert, "convert_localnorm", wrong)
    ran = lnbench("convert", task[1], "--model", task[0], "-o", tmp_path / "x.pth", "--to", "localnorm")
    assert ran.code == 3
    assert "failed its own check (groups of one batch equal ghost batches" in ran.err
    assert not (tmp_path / "x.pth").exists()


def write_bad(folder: Path) -> None:
    """Files for the table below."""
    (folder / "plain.py").write_text(
        "from torch import nn\ndef plain():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))\n"
    )
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    checkpoint.write(folder / "plain.pth", plain.state_dict(), extras={}, metadata={})
    pixels, _ = pictures(8)
    for name in ("train/a", "train/b", "val/a", "val/b"):
        (folder / "split" / name).mkdir(parents=True)
        Image.fromarray(pixels[0]).save(folder / "split" / name / "0.png")
    np.savez(folder / "many.npz", images=pixels, labels=np.arange(8))


LOCAL = "-o x.pth --to localnorm"
ADAPT = "-o x.pth --to adapted"
TRAIN = f"{LOCAL} --finetune npz:data.npz"
BAD = {
    "output is input": (2, "never writes over its input", "net.pth -o net.pth --to localnorm"),
    "no such target": (2, "did you mean localnorm", "net.pth -o x.pth --to localnrm"),
    "suffix": (2, "weights are written as", "net.pth -o x.onnx --to localnorm"),
    "no folder": (2, "there is no folder", "net.pth -o none/x.pth --to localnorm"),
    "no checkpoint": (3, "none.pth", f"none.pth {LOCAL}"),
    "already local": (3, "LocalNorm already, with 2 groups", f"local.pth {LOCAL}"),
    "not local": (3, "no LocalNorm layers", "net.pth -o x.pth --to batchnorm"),
    "adapt local": (3, "--to batchnorm --calibrate", f"local.pth {ADAPT} --calibrate npz:data.npz"),
    "no batchnorm": (3, "nothing to convert", f"plain.pth {LOCAL} --model plain.py:plain"),
    "other network": (3, "does not fit the network", f"plain.pth {LOCAL}"),
    "K over batch": (2, "--groups 64 is more than the 32", f"net.pth {TRAIN} --groups 64 --batch-size 32"),
    "K no divisor": (2, "cut into 3 equal groups", f"net.pth {TRAIN} --groups 3 --batch-size 32"),
    "a set with splits": (
        3,
        "give the folder of the one to learn from",
        f"net.pth {ADAPT} --calibrate split",
    ),
    "no such layer": (3, "called or within 'layer9'", f"net.pth {LOCAL} --layers layer9"),
    "layers of batchnorm": (2, "--layers goes with", "local.pth -o x.pth --to batchnorm --layers 1"),
    "no groups": (2, "from 1 on", f"net.pth {LOCAL} --groups 0"),
    "too few images": (3, "fewer than one batch", f"net.pth {TRAIN}"),
    "classes": (
        3,
        "8 classes, the network only 4",
        f"net.pth {LOCAL} --finetune npz:many.npz --batch-size 8",
    ),
    "nothing to calibrate": (2, "needs --calibrate", f"net.pth {ADAPT}"),
    "calibrate local": (2, "goes with batchnorm or adapted", f"net.pth {LOCAL} --calibrate npz:data.npz"),
    "n too large": (2, "has only 90 images", f"net.pth {ADAPT} --calibrate npz:data.npz -n 91"),
    "group images": (2, "whole numbers such as 1,16", f"net.pth {LOCAL} --group-images 1,x"),
    "images no divisor": (2, "does not divide", f"net.pth {TRAIN} --group-images 3 --batch-size 32"),
    "device": (2, "not a device", f"net.pth {LOCAL} --device toaster"),
    "seed": (2, "--seed -1: a seed is a whole number", f"net.pth {LOCAL} --seed -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_in_one_line(
    lnbench: Lnbench, task: tuple[str, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    code, text, words = BAD[case]
    monkeypatch.chdir(tmp_path)
    write_bad(tmp_path)
    converted(lnbench, task, tmp_path / "local.pth", "--to", "localnorm", "--groups", "2")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    model = () if "--model" in words else ("--model", task[0])
    ran = lnbench("convert", *words.split(), *model)
    assert ran.code == code, ran.err
    assert text in ran.err
    # One line; a report on keys that do not fit lists them below it.
    assert len([line for line in ran.err.splitlines() if not line.startswith("  ")]) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
