"""Reversed channels are noticed by the labels, and right ones are left in peace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnbench import config
from lnbench.evaluate import channels, evaluation


def test_a_verdict_needs_a_difference_that_images_agree_on() -> None:
    draw = np.random.default_rng(0)
    nll = draw.exponential(1.0, 200)
    worse = nll + draw.normal(0.4, 1.0, 200)
    z = channels.verdict(worse, nll)
    gain = worse - nll
    assert z == pytest.approx(gain.mean() / (gain.std(ddof=1) / np.sqrt(200)))
    assert channels.verdict(nll, worse) is None and channels.is_clear(nll, worse)
    assert channels.verdict(nll, nll) is None and not channels.is_clear(nll, nll)
    assert channels.verdict(worse[:31], nll[:31] - 5) is None  # too few images to say anything


@pytest.mark.parametrize("images", [10, 64, 100, 300, 512])
def test_it_looks_at_what_there_is(images: int) -> None:
    found = channels.looks(images)
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
    found = list(channels.check_channels(ready.subjects[0], ready.images.clean))
    assert bool(found) == (stored == "bgr")
    if found:
        assert "are they stored in BGR order?" in found[0] and "\n" not in found[0]
