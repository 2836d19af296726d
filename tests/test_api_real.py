"""The public examples on photographs of CIFAR-10, with a network that others trained."""

from __future__ import annotations

import pickle
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lnbench
from benchmarks import api_command
from lnbench.cli import run as command
from lnbench.data.demo import CLASSES
from tests.norm.test_session import portrait

COUNT = 30  # all ten classes are among them
Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "checkpoints" / "cifar10_resnet20-12fca82f.th"


@pytest.fixture(scope="module")
def arrays(shared: Path) -> Arrays:
    return api_command.arrays(f"npz:{shared / 'data' / 'cifar10_test_846.npz'}", COUNT)


@pytest.fixture(scope="module")
def record(arrays: Arrays, weights: Path) -> lnbench.RunRecord:
    return api_command.in_python(*arrays, weights)


@pytest.fixture
def model(weights: Path) -> nn.Module:
    return api_command.network(weights)


def test_python_counts_what_the_command_counts(
    record: lnbench.RunRecord, arrays: Arrays, weights: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", images=arrays[0], labels=arrays[1])
    with pytest.raises(SystemExit) as ended:
        command(api_command.words(tmp_path / "images.npz", weights, tmp_path / "run"))
    assert not ended.value.code
    told = lnbench.read(tmp_path / "run")
    assert api_command.differences(record, told) == (3 * (5 * 3 + 1), 0, 0)
    assert lnbench.compare(told, record).passed


def test_the_record_shows_as_tables_frames_and_figures(
    record: lnbench.RunRecord, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    matplotlib.use("Agg")
    monkeypatch.setenv("COLUMNS", "120")  # a narrow terminal breaks the long name
    for mode in api_command.MODES:
        assert mode in repr(record) and mode in record._repr_html_()
    assert len(record.cells) == 48 and len(record.images) == 48 * COUNT
    assert record.summary.loc["fixed", "clean_top1"] > 0.8
    clean = record.images.query("mode == 'fixed' and corruption == 'clean'")
    assert clean["label"].tolist() == arrays[1].tolist()
    for what in ("contrast", "severity", "calibration", "stream"):
        assert record.plot(what).lines
    pyplot.close("all")


def test_another_network_is_compared(record: lnbench.RunRecord, arrays: Arrays, weights: Path) -> None:
    worse = api_command.network(weights)
    with torch.no_grad():
        worse.linear.weight[0] += 0.4
    other = lnbench.evaluate(
        worse, arrays, corruptions="core", severities=(1, 3, 5), modes=api_command.MODES,
        mean=api_command.MEAN, std=api_command.STD, resize=32, crop=32, batch_size=200, device="cpu",
        progress=False,
    )  # fmt: skip
    found = lnbench.compare(record, other, fail_if=["top1:-1pp"])
    assert not found.passed and found.failures and found.changes["difference"].iloc[0] < 0
    assert "FAIL" in repr(found) and "FAIL" in found._repr_html_()


def test_a_record_is_read_from_a_folder_a_file_and_a_baseline(
    arrays: Arrays, model: nn.Module, tmp_path: Path
) -> None:
    found = lnbench.evaluate(
        model, arrays, corruptions=["fog"], severities=[3], modes="fixed", out=tmp_path / "run",
        mean=api_command.MEAN, std=api_command.STD, device="cpu", progress=False,
    )  # fmt: skip
    for path in (tmp_path / "run", tmp_path / "run" / "results.json"):
        assert lnbench.read(path).cells.equals(found.cells)
    baseline = lnbench.read(Path(__file__).parent / "baselines" / "demo.json")
    assert len(CLASSES) == 12 and "contrast" in set(baseline.cells["corruption"])


def test_images_are_corrupted_and_come_back_as_what_they_were(arrays: Arrays) -> None:
    images = arrays[0]
    foggy = lnbench.corrupt(images, "fog", 3, seed=0)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert foggy.shape == images.shape and (foggy != images).mean() > 0.9
    assert torch.equal(lnbench.corrupt(tensor, "fog", 3, seed=0), torch.from_numpy(foggy).permute(0, 3, 1, 2))
    picture = lnbench.corrupt(Image.fromarray(images[0]), "fog", 3, seed=0)
    assert isinstance(picture, Image.Image) and np.array_equal(np.asarray(picture), foggy[0])


class Photographs(Dataset):  # type: ignore[type-arg]
    def __init__(self, images: np.ndarray, transform: nn.Module) -> None:
        self.images, self.transform = torch.from_numpy(images).permute(0, 3, 1, 2), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.images[index])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "transform",
    [lnbench.Corrupt("fog", severity=3), lnbench.Corrupt.random(["noise", "blur"], severities=(1, 5))],
)
def test_a_transform_gives_equal_pixels_with_no_worker_and_with_two(
    arrays: Arrays, transform: nn.Module
) -> None:
    pixels = [
        torch.cat(list(DataLoader(Photographs(arrays[0], one), batch_size=5, num_workers=workers)))
        for workers, one in ((0, transform), (2, pickle.loads(pickle.dumps(transform))))
    ]
    assert torch.equal(*pixels)
    assert (pixels[0] != torch.from_numpy(arrays[0]).permute(0, 3, 1, 2)).float().mean() > 0.5


def test_a_mode_for_ones_own_loop_and_one_for_good(arrays: Arrays, model: nn.Module) -> None:
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (api_command.MEAN, api_command.STD))
    x = (torch.from_numpy(arrays[0]).permute(0, 3, 1, 2) / 255 - mean) / std
    before = portrait(model)
    model_eval = {}
    with torch.no_grad():
        for mode in ("fixed", "batch"):
            with lnbench.norm_mode(model, mode):
                model_eval[mode] = model(x)
        assert portrait(model) == before
        with pytest.raises(KeyError), lnbench.norm_mode(model, "batch"):
            raise KeyError("own")
        assert portrait(model) == before
        model.eval()
        assert torch.equal(model_eval["fixed"], model(x))
        assert not torch.allclose(model_eval["batch"], model(x))
        deployed = lnbench.with_mode(model, "local:layers=first1")
        alone = torch.cat([deployed(one[None]) for one in x])
        assert torch.allclose(deployed(x), alone, atol=1e-4)
        assert not torch.allclose(alone, model(x), atol=1e-2)


def test_there_is_a_word_about_all_there_is() -> None:
    for listing, name in (
        (lnbench.corruptions(), "fog"),
        (lnbench.modes(), "local"),
        (lnbench.presets(), "core"),
    ):
        assert all(entry.about for entry in listing.values()) and name in listing
