"""One door from a specification and a file to a network with its weights, and how to feed it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lnbench.errors import CheckpointError, UsageError
from lnbench.models import checkpoint, registry
from lnbench.models.cifar import cifar_network
from lnbench.models.load import Preprocessing, load
from lnbench.types import Geometry, InputNormalization

OWN = Geometry(256, 224, "bicubic")
GEOMETRIES: list[tuple[dict[str, Any], Geometry]] = [
    ({}, OWN),
    ({"crop": 192}, Geometry(None, 192, "bicubic")),
    ({"resize": 300}, Geometry(300, None, "bicubic")),
    ({"resize": (300, 320), "crop": 288}, Geometry((300, 320), 288, "bicubic")),
    ({"interpolation": "box"}, Geometry(256, 224, "box")),
    ({"crop": 192, "interpolation": "box"}, Geometry(None, 192, "box")),
]


@pytest.mark.parametrize(("given", "expected"), GEOMETRIES)
def test_a_given_crop_drops_the_models_resize_and_the_other_way_round(
    given: dict[str, Any], expected: Geometry
) -> None:
    assert Preprocessing(**given).geometry(OWN) == expected


def test_mean_and_std_are_given_each_by_itself() -> None:
    own, mean, std = InputNormalization(), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    assert Preprocessing().normalization(own) == own
    assert Preprocessing(mean=mean).normalization(own) == InputNormalization(mean, own.std)
    assert Preprocessing(std=std).normalization(own) == InputNormalization(own.mean, std)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint of resnet20 with seven classes, where the network has ten by itself."""
    torch.manual_seed(0)
    tensors = cifar_network("resnet20", 7).state_dict()
    checkpoint.write(tmp_path / "net.pth", tensors, extras={"epoch": 3}, metadata={"mine": "yes"})
    return tmp_path / "net.pth", tensors


def test_the_weights_of_a_file_and_their_origin(saved: tuple[Path, dict[str, Tensor]]) -> None:
    path, tensors = saved
    loaded = load("cifar:resnet20", path, Preprocessing(crop=40))
    state = loaded.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tensors.items())
    assert (loaded.source, loaded.sha256) == ("net.pth", checkpoint.digest(path))
    assert loaded.geometry == Geometry(None, 40)
    stored = loaded.checkpoint
    assert stored is not None
    assert (stored.container, stored.extras, stored.metadata) == ("state_dict", {"epoch": 3}, {"mine": "yes"})


def test_what_comes_between_building_and_fitting(saved: tuple[Path, dict[str, Tensor]]) -> None:
    """It sees a network with the file's head, not yet its weights; what it changes is fitted."""
    path, tensors = saved
    seen: list[bool] = []

    def change(network: nn.Module, given: Mapping[str, Tensor]) -> None:
        assert given.keys() == tensors.keys()
        weight = network.get_parameter("linear.weight")
        seen.append(weight.shape == (7, 64) and not torch.equal(weight, tensors["linear.weight"]))
        network.register_buffer("more", torch.zeros(1))

    with pytest.raises(CheckpointError, match="1 missing"):
        load("cifar:resnet20", path, before_fit=change)
    assert seen == [True]


def test_the_demo_comes_with_its_weights() -> None:
    loaded = load("demo")
    packaged = registry.packaged_weights(registry.parse("demo"))
    assert packaged is not None
    assert (loaded.source, loaded.sha256) == (packaged.name, checkpoint.digest(packaged))


def test_without_weights_of_any_kind_it_says_so() -> None:
    with pytest.raises(UsageError, match="give --weights"):
        load("cifar:resnet20")
