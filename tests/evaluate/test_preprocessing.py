"""A wrong preparation is noticed by the first layer or the labels, and a right one is left in peace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnbench import config
from lnbench.evaluate import evaluation, preprocessing
from lnbench.evaluate.preprocessing import USUAL, Other, check_by_labels, check_preprocessing, others
from lnbench.types import InputNormalization

REVERSED, HALF = Other("channels reversed"), Other("half", USUAL["--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"])


@pytest.mark.parametrize("other", [REVERSED, HALF])
def test_a_verdict_needs_a_difference_that_images_agree_on(other: Other) -> None:
    draw = np.random.default_rng(0)
    nll = draw.exponential(1.0, 200)
    worse = nll + draw.normal(0.6, 1.0, 200)
    gain = worse - nll
    z = preprocessing.standard_errors(worse, nll)
    assert z == pytest.approx(gain.mean() / (gain.std(ddof=1) / np.sqrt(200)))
    assert other.judge(worse, nll) == "better" and other.judge(nll, worse) == "no better"
    assert other.judge(worse[:31], nll[:31] - 5) != "better"  # too few images to say anything
    assert other.judge(nll, nll) == ("open" if other is REVERSED else "no better")


def test_a_mean_and_std_must_gain_more_than_a_hair() -> None:
    nll = np.random.default_rng(0).exponential(1.0, 500)
    assert preprocessing.standard_errors(nll, nll * 0.9) > 10
    assert HALF.judge(nll, nll * 0.9) == "open" and HALF.judge(nll, nll * 0.7) == "better"


def test_what_is_tried() -> None:
    """The given one is not, nor are ranges that a first layer tells apart."""
    assert [other.name for other in others(InputNormalization(), first_layer=True)] == [
        "channels reversed", "CIFAR-10 mean/std", "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5",
    ]  # fmt: skip
    assert len(others(InputNormalization((0.1, 0.2, 0.3), (1.0, 1.0, 1.0)), first_layer=False)) == 6


@pytest.mark.parametrize("images", [10, 64, 100, 300, 512])
def test_it_looks_at_what_there_is(images: int) -> None:
    found = preprocessing.looks(images)
    assert found[-1] == images and found == sorted(set(found)) and found[0] == min(64, images)


@pytest.mark.parametrize("stored", ["rgb", "bgr"])
def test_a_real_network_on_both_orders(stored: str, shared: Path, tmp_path: Path) -> None:
    with np.load(shared / "data" / "cifar10_test_846.npz") as data:
        images, labels = data["images"], data["labels"]
    path = tmp_path / "data.npz"
    np.savez(path, images=images if stored == "rgb" else images[..., ::-1], labels=labels)
    options: dict[str, Any] = {
        "model": "cifar:resnet20", "data": f"npz:{path}", "modes": ["fixed"],
        "weights": str(next((shared / "checkpoints").glob("cifar10_resnet20-*.th"))),
    }  # fmt: skip
    ready = evaluation.prepare_all([config.resolve(config.load_preset("core"), options)])
    found = list(check_by_labels(ready.subjects[0], ready.images.clean))
    assert bool(found) == (stored == "bgr")
    if found:
        assert "are they stored in BGR order?" in found[0] and "\n" not in found[0]


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), ""),
        (
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            "fit their labels better with ImageNet mean/std",
        ),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "the first norm layer sees inputs"),
    ],
)
def test_the_demo_under_other_means_and_stds(mean: Any, std: Any, said: str) -> None:
    """CIFAR's in place of ImageNet's costs it 33 points, and its first layer does not see that."""
    options: dict[str, Any] = {"model": "demo", "data": "demo", "modes": ["fixed"], "mean": mean, "std": std}
    ready = evaluation.prepare_all([config.resolve(config.load_preset("demo"), options)])
    found = list(check_preprocessing(ready.subjects[0], ready.images.clean))
    assert len(found) == bool(said) and all(said in text and "\n" not in text for text in found)
