"""The public functions on the demo: the command's integers, a person's model untouched, tables to look at."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import v2
from typer.testing import CliRunner

import lnbench
from lnbench.cli import app
from lnbench.data.demo import CLASSES, open_demo
from lnbench.errors import DataError, LnbenchError, RecordError, UsageError
from lnbench.models.load import load
from lnbench.results.correct import from_cells
from lnbench.words import worded
from tests.networks import write_task
from tests.norm.test_session import demo, portrait

IMAGES = 60
RUN: dict[str, Any] = {
    "corruptions": ["gaussian_noise", "contrast"], "severities": [5],
    "modes": ["fixed", "batch", "local:layers=first1", "adapt:n=16"],
    "batch_size": 40, "limit": IMAGES, "device": "cpu", "progress": False,
}  # fmt: skip
QUICK: dict[str, Any] = {
    **RUN, "corruptions": ["contrast"], "severities": [5], "modes": ["fixed", "batch"], "limit": 48,
}  # fmt: skip


@pytest.fixture(scope="module")
def record() -> lnbench.RunRecord:
    return lnbench.evaluate("demo", "demo", **RUN)


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    images, labels, _ = open_demo("test")
    return images, labels


def counted(record: lnbench.RunRecord) -> list[object]:
    """What every cell counted, the bits of its images among it."""
    return [
        (c.mode, c.condition, c.images, c.scores, c.bins, c.batch_size, c.correct)
        for c in record.content.cells
    ]


def test_the_command_writes_the_same_record(record: lnbench.RunRecord, tmp_path: Path) -> None:
    words = ["--norm", ",".join(RUN["modes"]), "--batch-size", 40, "--limit", IMAGES, "--device", "cpu"]
    words += [word for name in RUN["corruptions"] for word in ("--corruption", name)]
    words += [word for severity in RUN["severities"] for word in ("--severity", severity)]
    line = ["evaluate", "--model", "demo", "--data", "demo", *words, "--out", tmp_path / "command"]
    assert CliRunner().invoke(app, [str(word) for word in line]).exit_code == 0
    lnbench.evaluate("demo", "demo", **RUN, out=tmp_path / "python")
    written = []
    for name in ("command", "python"):
        content = json.loads((tmp_path / name / "results.json").read_text())
        for cell in content["cells"]:
            del cell["seconds"]
        for key in ("command", "started", "checksum"):
            del content[key]
        written.append(content)
    assert written[0] == written[1]
    assert sorted(p.name for p in (tmp_path / "command").iterdir()) == sorted(
        p.name for p in (tmp_path / "python").iterdir()
    )
    command = lnbench.read(tmp_path / "command")
    with_bits = from_cells(record.content.cells).flags
    assert command.correct is not None
    assert {key: flags.tolist() for key, flags in command.correct.flags.items()} == {
        key: flags.tolist() for key, flags in with_bits.items()
    }
    assert [c.scores for c in command.content.cells] == [c.scores for c in record.content.cells]
    found = lnbench.compare(command, record)
    assert found.passed and not found.changes["difference"].any()


def test_a_finished_cell_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lnbench.evaluate("demo", "demo", **QUICK, out=tmp_path)
    lines = (tmp_path / "cells.jsonl").read_bytes()
    again = lnbench.evaluate("demo", "demo", **QUICK, out=str(tmp_path))
    assert again.folder == tmp_path and (tmp_path / "cells.jsonl").read_bytes() == lines
    assert counted(again) == counted(first)
    with pytest.raises(RecordError, match=r"give resume=False"):
        lnbench.evaluate("demo", "demo", **{**QUICK, "seed": 1}, out=tmp_path)
    lnbench.evaluate("demo", "demo", **{**QUICK, "seed": 1}, out=tmp_path, resume=False)


def test_a_module_and_arrays_count_what_the_specifications_count(
    record: lnbench.RunRecord, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    network = demo()
    before = portrait(network)
    images, labels = arrays
    stored = load("demo").normalization
    random = torch.get_rng_state()
    torch.backends.cudnn.allow_tf32 = True
    own = lnbench.evaluate(
        network, (images.transpose(0, 2, 3, 1), labels), **RUN,
        mean=stored.mean, std=stored.std, class_names=CLASSES, resize=64, crop=64,
    )  # fmt: skip
    assert counted(own) == counted(record)
    assert own.content.data.fingerprint == record.content.data.fingerprint
    assert own.content.model.spec == "module:DemoNetwork" and own.content.data.spec == "arrays"
    assert own.content.model.state and own.content.model.sha256 is None
    assert portrait(network) == before
    assert torch.equal(torch.get_rng_state(), random) and torch.backends.cudnn.allow_tf32
    assert lnbench.compare(record, own).passed


class Pictures(Dataset):  # type: ignore[type-arg]
    """PIL images and labels through a transform, as torchvision's datasets have them."""

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, transform: Any = None, lazy: bool = False
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform or (lambda picture: picture)
        if lazy:
            self.targets = labels.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        picture = Image.fromarray(self.images[index].transpose(1, 2, 0))
        return self.transform(picture), int(self.labels[index])


def containers(images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The same images in everything that is taken."""
    mean, std = load("demo").normalization.mean, load("demo").normalization.std
    to_float = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    normalized = v2.Compose([to_float, v2.Normalize(mean, std)])
    plain = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    return {
        "tensors": (torch.from_numpy(images), torch.from_numpy(labels)),
        "pictures": ([Image.fromarray(one.transpose(1, 2, 0)) for one in images], labels.tolist()),
        "dataset": Pictures(images, labels),
        "dataset with targets": Pictures(images, labels, lazy=True),
        "dataset of floats": Pictures(images, labels, to_float),
        "dataset normalized": Pictures(images, labels, normalized),
        "loader": DataLoader(plain, batch_size=7),
        "loader that shuffles": DataLoader(plain, batch_size=7, shuffle=True, drop_last=True),
        "loader normalized": DataLoader(Pictures(images, labels, normalized), batch_size=16, num_workers=2),
    }


@pytest.mark.parametrize("name", [*containers(np.zeros((1, 3, 32, 32), np.uint8), np.zeros(1, int))])
def test_every_container_gives_the_same_pixels(arrays: tuple[np.ndarray, np.ndarray], name: str) -> None:
    images, labels = arrays[0][::5], arrays[1][::5]
    stored = load("demo").normalization
    options = {**QUICK, "modes": "fixed", "limit": None, "mean": stored.mean, "std": stored.std}
    want = lnbench.evaluate("demo", (images, labels), **options)
    data, random = containers(images, labels)[name], torch.get_rng_state()
    found = lnbench.evaluate("demo", data, **options)
    assert found.content.data.fingerprint == want.content.data.fingerprint
    assert counted(found) == counted(want)
    assert torch.equal(torch.get_rng_state(), random)


def test_images_that_differ_in_size_need_a_resize_and_then_are_right() -> None:
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 255, (64 + n, 70, 3), np.uint8)) for n in range(6)]
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    options = {**QUICK, "limit": None}
    with pytest.raises(DataError, match=r"differ in size .* give resize= and crop="):
        lnbench.evaluate(network, (pictures, range(6)), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it guesses
        record = lnbench.evaluate(
            network, (pictures, range(6)), **{**QUICK, "limit": None}, resize=64, crop=64
        )
    assert record.content.data.images == 6


@pytest.mark.parametrize(
    "data, said",
    [
        ((torch.randn(4, 3, 32, 32), [0, 1, 2, 3]), "no 8-bit pixels.*mean= and std="),
        ((np.full((4, 3, 32, 32), 0.1234), [0, 1, 2, 3]), "no 8-bit pixels"),
        ((np.zeros((4, 3, 32, 32), np.int64), [0, 1, 2, 3]), "int64 are no 8-bit"),
        ((np.zeros((4, 1, 32, 32), np.uint8), [0, 1, 2, 3]), "repeat the channel of grey"),
        ((np.zeros((4, 3, 32, 32), np.uint8), [0, 1]), "4 images but 2 labels"),
        ((np.zeros((4, 3, 32, 32), np.uint8), [0.5, 1, 2, 3]), "class indices"),
        ((np.zeros((4, 3, 32, 32), np.uint8), [0, 1, 2, -3]), "outside"),
        ((np.zeros((4, 3, 16, 16), np.uint8), [0, 1, 2, 3]), "too small"),
        (([], []), "holds no images"),
        ({"images": 1}, "data is a dict; give"),
        ([{"image": 1}], "item 0 is a dict, not"),
        (
            DataLoader([(0, 0)] * 3, sampler=torch.utils.data.WeightedRandomSampler([1, 1, 1], 3)),
            "WeightedRandomSampler.*loader.dataset",
        ),
    ],
)
def test_data_that_cannot_be_right_is_refused_with_the_way_out(data: Any, said: str) -> None:
    network = demo()
    before = portrait(network)
    with pytest.raises(DataError, match=said):
        lnbench.evaluate(network, data, **{**QUICK, "limit": None})
    assert portrait(network) == before


def test_what_is_asked_wrongly_is_said_in_the_words_of_python(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    network, before = demo(), None
    before = portrait(network)
    for options, said in (
        ({"modes": "bach"}, "did you mean batch"),
        ({"corruptions": "fogg"}, "did you mean fog"),
        ({"severities": [9]}, "outside 1–5"),
        ({"weights": "x.pt"}, "weights= is for a model given as a specification"),
        ({"std": (0, 1, 1)}, "std= must be positive"),
        ({"batchsize": 3}, "unknown key 'batchsize'"),
    ):
        with pytest.raises(UsageError, match=said):
            lnbench.evaluate(network, arrays, **{**QUICK, **options})
    with pytest.raises(UsageError, match="model is a int"):
        lnbench.evaluate(3, arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a specification brings its own"):
        lnbench.evaluate(network, "demo", class_names=["a"])
    with lnbench.norm_mode(network, "batch"), pytest.raises(UsageError, match="is in a normalization mode"):
        lnbench.evaluate(network, arrays, **QUICK)
    assert portrait(network) == before
    assert worded("give --classes all, or --precision bf16") == "give classes='all', or precision='bf16'"
    assert worded("give --batch-size 100, --resize and --crop, or --fresh") == (
        "give batch_size=100, resize= and crop=, or resume=False"
    )
    assert worded("say which with --class-map FILE") == "say which with class_map=FILE"


def test_a_run_ends_when_it_is_known_and_goes_on(tmp_path: Path) -> None:
    model, weights, data = write_task(tmp_path, images=1_300)
    options: dict[str, Any] = {
        **QUICK, "weights": weights, "modes": "fixed", "batch_size": 64, "limit": None,
        "out": tmp_path / "run",
    }  # fmt: skip
    found = lnbench.evaluate(model, data, **options, until=[8, "fixed/clean: 9"])
    early = found.content.rounds
    assert early is not None and (early.images, early.of) == (512, 1_300)
    assert early.why == "known to ± 8, fixed/clean: 9 points" and set(found.cells["images"]) == {512}
    assert "512 of 1,300 images" in repr(found) and len(found.images) == 2 * 512
    again = lnbench.read(tmp_path / "run").content
    assert (again.rounds, again.summary) == (early, found.content.summary)
    complete = lnbench.evaluate(model, data, **options, rounds=True)
    assert complete.content.rounds is None
    assert counted(complete) == counted(lnbench.evaluate(model, data, **{**options, "out": None}))
    for wrong, said in (
        ({"until": "x"}, "^until='x': give points"),
        ({"until": 1.0, "modes": "tent"}, "^rounds=, until=.* learns along the stream"),
    ):
        with pytest.raises(UsageError, match=said):
            lnbench.evaluate(model, data, **{**options, **wrong})


def test_a_gate_in_python_decides_as_the_command_does(tmp_path: Path) -> None:
    model, weights, data = write_task(tmp_path, images=1_300)
    options: dict[str, Any] = {
        **QUICK, "weights": weights, "modes": "fixed", "batch_size": 64, "limit": None,
    }  # fmt: skip
    base = lnbench.evaluate(model, data, **options, out=tmp_path / "base")
    assert base.gate is None
    found = [
        lnbench.evaluate(model, data, **options, against=against, margin=margin)
        for against, margin in ((base, 3), (tmp_path / "base", "3pp"), (str(tmp_path / "base"), 3.0))
    ]
    gate = found[0].gate
    assert gate is not None and gate.passed and gate.decided and gate.margin == 0.03
    assert [(one.figure, one.outcome, one.seen <= 512) for one in gate.answers] == [
        ("clean_top1", "within", True),
        ("mean_corruption_top1", "within", True),
    ]
    rounds = found[0].content.rounds
    assert rounds is not None and (rounds.images, rounds.why) == (512, "decided against the baseline")
    assert all(other.gate == gate and other.content.rounds == rounds for other in found[1:])
    assert "PASS: 0 worse, 2 not worse by more than 3 points" in repr(found[0])
    assert "PASS: 0 worse" in found[0]._repr_html_()
    for wrong, said in (
        ({"margin": 1}, r"^margin= is for against="),
        ({"against": base, "margin": "x"}, r"^margin='x': give a loss"),
        ({"against": tmp_path / "nowhere"}, "nowhere does not exist"),
        ({"against": base, "modes": "tent"}, "learns along the stream"),
        ({"against": base, "seed": 1}, "cannot be compared with the baseline"),
    ):
        with pytest.raises(LnbenchError, match=said):
            lnbench.evaluate(model, data, **{**options, **wrong})


def test_decoded_images_are_kept_where_asked_and_found_again(tmp_path: Path) -> None:
    for number in range(24):
        (tmp_path / "set" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (80, 80, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "set" / str(number % 2) / f"{number}.png")
    options = {**QUICK, "limit": None, "classes": "present", "cache": tmp_path / "cache"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise is hard to classify
        first = lnbench.evaluate("demo", f"folder:{tmp_path / 'set'}", **options)
        kept = {path: path.read_bytes() for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"}
        again = lnbench.evaluate(
            "demo", f"folder:{tmp_path / 'set'}", **{**options, "cache": str(tmp_path / "cache")}
        )
    assert kept and all(path.read_bytes() == content for path, content in kept.items())
    assert counted(again) == counted(first)


def test_warnings_are_pythons_and_nothing_else_is_said(
    arrays: tuple[np.ndarray, np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="Check mean=") as said:
        lnbench.evaluate("demo", arrays, **QUICK, mean=(0.0, 0.0, 0.0), std=(0.004, 0.004, 0.004))
    assert said[0].filename == __file__ and capfd.readouterr() == ("", "")


def test_a_record_is_looked_at_as_text_html_frames_and_pictures(
    record: lnbench.RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "top-1 %" in repr(record) and "contrast" in str(record) and "layers=first1" in repr(record)
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, repr(record).splitlines())) <= 60
    html = record._repr_html_()
    assert html.startswith("<table>") and "contrast" in html and "<b>" in html
    cells, images = record.cells, record.images
    assert len(cells) == 4 * 3 and len(images) == 4 * 3 * IMAGES
    means = images.groupby(["mode", "corruption", "severity"])["correct"].mean()
    for row in cells.itertuples():
        assert means[row.mode, row.corruption, row.severity] == pytest.approx(row.top1)
    assert list(images["image"][:IMAGES]) == sorted(images["image"][:IMAGES]) and images["label"].max() == 11
    assert list(record.summary.index) == RUN["modes"]
    assert record.summary.loc["fixed", "clean_top1"] > 0.8
    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = record.plot("contrast")
    assert [line.get_label() for line in axes.lines] == RUN["modes"]
    clean = axes.lines[0].get_ydata()[0]
    assert list(axes.lines[0].get_xdata()) == [0, 5] and clean == pytest.approx(
        100 * record.summary.loc["fixed", "clean_top1"]
    )
    assert record.plot("severity", axes) is axes and record.plot("calibration").lines
    assert len(record.plot("stream").lines) == 1  # batch alone has a course
    with pytest.raises(UsageError, match="did you mean contrast"):
        record.plot("contras")
    pyplot.close("all")


def test_a_comparison_says_what_changed(record: lnbench.RunRecord, tmp_path: Path) -> None:
    worse = demo()
    with torch.no_grad():
        worse.linear.weight[3] += 0.4
    images, labels, _ = open_demo("test")
    stored = load("demo").normalization
    other = lnbench.evaluate(
        worse, (images, labels), **RUN,
        mean=stored.mean, std=stored.std, class_names=CLASSES, resize=64, crop=64,
    )  # fmt: skip
    found = lnbench.compare(record, other)
    assert not found.passed and any("clean" in text for text in found.failures)
    assert "FAIL" in repr(found) and "FAIL" in found._repr_html_()
    changes = found.changes
    assert changes.iloc[0]["verdict"] == "worse" and changes["difference"].iloc[0] < 0
    assert lnbench.compare(record, other, fail_if=["top1:-100pp"]).passed
    sized = lnbench.evaluate("demo", "demo", **{**RUN, "resize": 48, "crop": 48})
    with pytest.raises(RecordError, match=r"different data .*; .*crop 64 and .*crop 48\)"):
        lnbench.compare(record, sized)
    with pytest.raises(RecordError, match=r"different seed"):
        lnbench.compare(record, lnbench.evaluate("demo", "demo", **{**RUN, "seed": 1}))
    bare = lnbench.RunRecord(record.content.model_copy(update={"cells": record.content.cells}), None)
    with pytest.raises(RecordError, match="no answers to single images"):
        print(bare.images)


def test_the_name_of_a_suite_stands_for_all_of_it() -> None:
    record = lnbench.evaluate("demo", "demo", corruptions="ci", limit=36, device="cpu", progress=False)
    assert record.content.suite.preset == "ci" and len(record.content.cells) == 2 * 11
    one = lnbench.evaluate("demo", "demo", corruptions="contrast", severities=(5,), modes="fixed", limit=24,
                           device="cpu", progress=False)  # fmt: skip
    assert one.content.suite.conditions == (("clean", 0), ("contrast", 5))
    with pytest.raises(LnbenchError, match="nowhere does not exist"):
        lnbench.read("nowhere")
