"""`lnbench choose` through its real entry: its figures by other means, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import lnbench as package
from lnbench.models import checkpoint
from lnbench.results.choice import Choice, read
from tests.cli.conftest import Lnbench
from tests.networks import normalized, pictures, tiny, write_task

MODES = ("local:layers=first1", "blend:N=4", "adapt:n=8")
TUNED = ("--tune-on", "imagenet-c-extra", "--severity", 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, net.pth, data.npz; others.npz: the same images with other labels."""
    place = tmp_path_factory.mktemp("choose")
    write_task(place)
    pixels, labels = pictures(90)
    np.savez(place / "others.npz", images=pixels, labels=(labels + 1) % 3)
    return place


def chosen(lnbench: Lnbench, folder: Path, out: Path, *words: object, data: str = "data.npz") -> Choice:
    ran = lnbench("choose", "--model", f"{folder / 'net.py'}:tiny", "--weights", folder / "net.pth",
                  "--data", f"npz:{folder / data}", "-o", out, "--device", "cpu", *words)  # fmt: skip
    assert ran.code == 0, ran.err
    assert "Proposed: " in ran.out and "Next: lnbench evaluate" in ran.out
    return read(out)


def answers(folder: Path, mode: str) -> np.ndarray:
    network = tiny()
    checkpoint.fit(network, checkpoint.read(folder / "net.pth"))
    x = normalized(torch.from_numpy(pictures(90)[0].transpose(0, 3, 1, 2).copy()))
    with package.norm_mode(network, mode, inputs=x[:8]), torch.no_grad():
        return network(x).argmax(-1).numpy()


def test_its_figures_are_those_of_a_run_whose_labels_are_the_networks_own_answers(
    lnbench: Lnbench, folder: Path, tmp_path: Path
) -> None:
    norms = [word for mode in MODES for word in ("--norm", mode)]
    found = chosen(lnbench, folder, tmp_path / "c.json", "-n", 90, *TUNED, *norms)
    assert [one.mode for one in found.figures] == ["fixed", *MODES]
    untouched = answers(folder, "fixed")
    np.savez(tmp_path / "answered.npz", images=pictures(90)[0], labels=untouched)
    # The same images under the same ids: the same noise. The adapt of `choose` draws among them too.
    ran = lnbench("evaluate", "--severity", 5, "--model",
                  f"{folder / 'net.py'}:tiny", "--weights", folder / "net.pth", "--norm", "fixed", *norms,
                  "--data", f"npz:{tmp_path / 'answered.npz'}", "--out", tmp_path / "run", "--preset",
                  _by_size(tmp_path), "--classes", "all")  # fmt: skip
    assert ran.code == 0, ran.err
    summary = json.loads((tmp_path / "run" / "results.json").read_text())["summary"]
    for one in found.figures:
        assert one.clean == pytest.approx(summary[one.mode]["clean_top1"])
        assert one.corrupted == pytest.approx(summary[one.mode]["mean_corruption_top1"])
        assert one.gain == pytest.approx(
            summary[one.mode]["mean_corruption_top1"] - summary["fixed"]["mean_corruption_top1"]
        )
    local = float((answers(folder, MODES[0]) == untouched).mean())
    assert found.figures[1].clean == pytest.approx(local) and local < 1


def _by_size(place: Path) -> Path:
    path = place / "extra.yaml"
    path.write_text("name: extra\ninclude: imagenet-c-extra\ntable: by-size\n")
    return path


def test_labels_count_for_nothing_and_a_seed_decides_the_images(
    lnbench: Lnbench, folder: Path, tmp_path: Path
) -> None:
    def figures(data: str, *words: object) -> list[tuple[float, float | None]]:
        found = chosen(lnbench, folder, tmp_path / "x.json", "-n", 20, *TUNED, *words, data=data)
        return [(one.clean, one.corrupted) for one in found.figures]

    first = figures("data.npz")
    assert figures("others.npz") == first and len(first) > 5
    assert figures("data.npz", "--seed", 1) != first


def test_without_corruptions_the_gain_is_not_known(lnbench: Lnbench, folder: Path, tmp_path: Path) -> None:
    found = chosen(lnbench, folder, tmp_path / "x.json", "-n", 20)
    assert all(one.gain is None for one in found.figures) and found.chosen.seen.corruptions == ()


def test_evaluate_takes_the_choice_and_keeps_what_it_saw_on_record(
    lnbench: Lnbench, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.json"
    found = chosen(lnbench, folder, out, "-n", 20, *TUNED, "--cost", 100)
    task = ("--model", f"{folder / 'net.py'}:tiny", "--weights", folder / "net.pth", "--data",
            f"npz:{folder / 'data.npz'}", "--severity", 5, "--norm", f"fixed,{out}")  # fmt: skip
    ran = lnbench("evaluate", *task, "--corruption", "contrast", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["suite"]["modes"] == list(dict.fromkeys(["fixed", found.chosen.mode]))
    assert record["config"]["chosen"]["seen"]["corruptions"] == list(found.chosen.seen.corruptions)
    (note,) = [text for text in record["deviations"] if "was chosen on" in text]
    assert "20 of them are among the images evaluated here" in note and "tuned on speckle_noise" in note
    ran = lnbench("evaluate", *task, "--corruption", "spatter", "--out", tmp_path / "other")
    assert ran.code == 2 and "was chosen by spatter" in ran.err and not (tmp_path / "other").exists()
    ran = lnbench("evaluate", *task, "--norm", folder / "net.json", "--out", tmp_path / "third")
    assert ran.code == 2 and "one choice" in ran.err


BAD = {
    "reported corruptions": (2, "nothing is chosen by them", "--tune-on core"),
    "the suite itself": (2, "nothing is chosen by them", "--tune-on imagenet-c"),
    "a batch": (2, "depends on itself alone", "--norm batch"),
    "a stream": (2, "depends on itself alone", "--norm tent"),
    "no such mode": (2, "did you mean local", "--norm locl"),
    "too many": (2, "has only 20 images", "--norm adapt:n=21 -n 20"),
    "no folder": (2, "there is no folder", "-o none/c.json"),
    "not ours": (2, "is not overwritten", "-n 4 --norm blend -o net.pth"),
}


@pytest.mark.parametrize(("code", "text", "words"), BAD.values(), ids=BAD.keys())
def test_what_cannot_work_is_refused_in_one_line(
    lnbench: Lnbench, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str, words: str
) -> None:
    monkeypatch.chdir(folder)
    before = {path.name for path in folder.iterdir()} | {"__pycache__"}
    ran = lnbench("choose", "--model", "net.py:tiny", "--weights", "net.pth", "--data", "npz:data.npz",
                  "--device", "cpu", *words.split())  # fmt: skip
    assert ran.code == code and text in ran.err, ran.err
    assert len(ran.err.splitlines()) == 1
    assert {path.name for path in folder.iterdir()} | {"__pycache__"} == before
