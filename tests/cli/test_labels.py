"""Labels through the real entry: a real network on photographs whose folders have many names."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lnbench.data.labels import imagenet_wnids
from tests.cli.conftest import Lnbench

SPACING = 80  # every 80th of the 800 photographs
LITE0 = ("tf_efficientnet_lite0", 224)


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One photograph of each of ten classes, in wnid folders."""
    root = tmp_path_factory.mktemp("photographs")
    with zipfile.ZipFile(shared / "data" / "imagenet_sample_800.zip") as archive:
        for name in sorted(archive.namelist())[::SPACING]:
            archive.extract(name, root)
    return root


@pytest.fixture(scope="module")
def network(shared: Path) -> list[str]:
    weights = shared / "checkpoints" / "tf_efficientnet_lite0.safetensors"
    return ["--model", f"timm:{LITE0[0]}", "--weights", str(weights), "--norm", "fixed"]


@pytest.fixture(scope="module")
def masked(shared: Path, photographs: Path) -> dict[str, Any]:
    """An independent reckoning: torchvision's transforms, timm's network, logits masked by hand."""
    timm = pytest.importorskip("timm")
    from safetensors.torch import load_file
    from torchvision import transforms as T

    net = timm.create_model(LITE0[0]).eval()
    net.load_state_dict(load_file(shared / "checkpoints" / "tf_efficientnet_lite0.safetensors"))
    steps = T.Compose([T.Resize(256, T.InterpolationMode.BICUBIC), T.CenterCrop(LITE0[1]), T.ToTensor()])
    folders = sorted(path.name for path in photographs.iterdir())
    files = [next((photographs / folder).iterdir()) for folder in folders]
    with torch.no_grad():
        pixels = torch.stack([steps(Image.open(file).convert("RGB")) for file in files])
        logits = net((pixels - 0.5) / 0.5)
    outputs = torch.tensor([imagenet_wnids().index(folder) for folder in folders])
    labels = torch.arange(len(folders))
    seen = logits[:, outputs]
    return {
        "present": (seen.argmax(1) == labels).tolist(),
        "all": (logits.argmax(1) == outputs).tolist(),
        "nll": float(torch.nn.functional.cross_entropy(seen, labels)),
        "outputs": outputs.tolist(),
    }


def scored(lnbench: Lnbench, out: Path, *options: object) -> tuple[dict[str, Any], list[bool], str]:
    """The clean cell, each image's correctness, and what was said."""
    ran = lnbench("evaluate", *options, "--corruption", "clean", "--out", out)
    assert ran.code == 0, ran.err
    record = json.loads((out / "results.json").read_text())
    with np.load(out / "correct.npz") as evidence:
        (row,) = np.flatnonzero(evidence["cells"] == "fixed/clean")
        bits = np.unpackbits(evidence["bits"][row])[: record["data"]["images"]]
    return record, bits.astype(bool).tolist(), ran.err


def test_wnid_folders_of_a_subset_are_scored_as_masked_logits(
    lnbench: Lnbench, network: list[str], photographs: Path, masked: dict[str, Any], tmp_path: Path
) -> None:
    record, correct, _ = scored(lnbench, tmp_path / "a", *network, "--data", f"folder:{photographs}")
    assert correct == masked["present"]
    assert record["cells"][0]["nll"] == pytest.approx(masked["nll"], abs=2e-3)
    assert record["data"]["class_map"]["outputs"] == [[k] for k in masked["outputs"]]
    assert record["data"]["class_map"]["answering"] == 10
    assert any("10 classes answered by 10 of 1000 outputs" in text for text in record["deviations"])
    record, correct, _ = scored(
        lnbench, tmp_path / "b", *network, "--data", f"folder:{photographs}", "--classes", "all"
    )
    assert correct == masked["all"] and record["data"]["class_map"]["answering"] == 1000


@pytest.mark.parametrize("called", ["number", "name", "map", "file"])
def test_renamed_folders_give_the_same_answers(
    called: str, lnbench: Lnbench, network: list[str], photographs: Path, masked: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    wnids, options = imagenet_wnids(), []
    names = {path.name: path.name for path in photographs.iterdir()}
    if called == "number":
        names = {wnid: str(wnids.index(wnid)) for wnid in names}
    if called == "name":
        import timm

        info = timm.data.ImageNetInfo("imagenet-1k")
        names = {wnid: info.index_to_description(wnids.index(wnid)).upper() for wnid in names}
    if called == "map":
        names = {wnid: f"class {k:02d}" for k, wnid in enumerate(sorted(names))}
        with (tmp_path / "map.csv").open("w", newline="") as file:
            csv.writer(file).writerows((name, wnid) for wnid, name in names.items())
        options = ["--class-map", tmp_path / "map.csv"]
    if called == "file":
        names = {wnid: f"my {wnid}" for wnid in names}
        (tmp_path / "own.txt").write_text("\n".join(f"My_{wnid}" for wnid in wnids))
        options = ["--classes-file", tmp_path / "own.txt"]
    root = tmp_path / "renamed"
    root.mkdir()
    for wnid, name in names.items():
        (root / name).symlink_to(photographs / wnid)
    ran = scored(lnbench, tmp_path / "run", *network, *options, "--data", f"folder:{root}")
    record, correct, _ = ran
    by_label = dict(zip(record["data"]["classes"], correct, strict=True))
    assert [by_label[names[wnid]] for wnid in sorted(names)] == masked["present"]
    assert record["cells"][0]["nll"] == pytest.approx(masked["nll"], abs=2e-3)


def test_what_cannot_be_matched_ends_with_exit_3_and_no_run(
    lnbench: Lnbench, network: list[str], photographs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "strange"
    root.mkdir()
    for k, path in enumerate(sorted(photographs.iterdir())):
        (root / f"thing {k}").symlink_to(path)
    ran = lnbench("evaluate", *network, "--data", f"folder:{root}", "--out", tmp_path / "run")
    assert ran.code == 3 and len(ran.err.strip().splitlines()) == 1
    assert "10 classes" in ran.err and "1000 outputs" in ran.err and "--class-map" in ran.err
    assert not (tmp_path / "run").exists()
