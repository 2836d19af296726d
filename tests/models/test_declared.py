"""What a factory declares of its input: beside the network, or in it, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lnbench.errors import ModelError
from lnbench.models.declared import declared
from lnbench.models.load import Preprocessing, load, take
from lnbench.types import Geometry, InputNormalization

HALF = InputNormalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SAID = {"mean": (0.5, 0.5, 0.5), "std": [0.5, 0.5, 0.5]}
FACTORY = """
from torch import nn
def build(classes=3):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
    {}
"""


def written(folder: Path, ending: str) -> str:
    (folder / "net.py").write_text(FACTORY.format(ending))
    return f"{folder / 'net.py'}:build"


def test_a_factory_may_return_its_preprocessing(tmp_path: Path) -> None:
    ending = "return network, dict(mean=(.5, .5, .5), std=(.5, .5, .5), resize=256, crop=(224, 192))"
    loaded = load(written(tmp_path, ending))
    assert loaded.normalization == HALF and not loaded.assumed
    assert loaded.geometry == Geometry(256, (224, 192), "bilinear")
    # What a person says goes over it, as over any model's own.
    over = load(written(tmp_path, ending), preprocessing=Preprocessing(crop=64))
    assert over.geometry == Geometry(None, 64, "bilinear") and over.normalization == HALF


def test_a_network_may_carry_timms_metadata(tmp_path: Path) -> None:
    config = "dict(mean=(.5, .5, .5), std=(.5, .5, .5), input_size=(3, 224, 224), crop_pct=.875)"
    for name in ("pretrained_cfg", "default_cfg"):
        loaded = load(written(tmp_path, f"network.{name} = {config}; return network"))
        assert loaded.normalization == HALF and not loaded.assumed
        assert loaded.geometry == Geometry(256, 224, "bicubic")


def test_timms_own_networks_say_the_same_to_both_readers() -> None:
    timm = pytest.importorskip("timm")
    for name in ("tf_efficientnet_lite0", "resnet18"):
        network = timm.create_model(name)
        known = load_timm(name)
        assert declared(network, None, name) == known
        assert take(network).geometry == known[0] and not take(network).assumed


def load_timm(name: str) -> tuple[Geometry, InputNormalization]:
    from lnbench.models import registry

    built = registry.build(registry.parse(f"timm:{name}"), classes=None, pretrained=False)
    return built.geometry, built.normalization


def test_where_nothing_is_declared_imagenet_is_assumed(tmp_path: Path) -> None:
    spec = written(tmp_path, "return network")
    assert load(spec).assumed and load(spec).normalization == InputNormalization()
    assert not load(spec, preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5))).assumed
    assert take(nn.Identity()).assumed
    assert not load("demo").assumed


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([1, 2], r"returned a list beside the network"),
        ({"mean": (0, 0, 0)}, r"says mean and std"),
        ({**SAID, "croop": 3}, r"unknown key of its preprocessing 'croop': did you mean crop"),
        ({**SAID, "mean": 0.5}, r"mean is three numbers, not 0\.5"),
        ({**SAID, "std": (1, 0, 1)}, r"std 1, 0, 1 cannot be"),
        ({**SAID, "resize": 0}, r"resize is a side or \(height, width\)"),
        ({**SAID, "crop": (1, 2, 3)}, r"crop is a side or"),
        ({**SAID, "interpolation": "magic"}, r"interpolation 'magic' is not known"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_line(said: Any, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        declared(nn.Identity(), said, "net.py:build")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ending",
    [
        "return network, dict(mean=(.5, .5, .5), std=(.5, .5, .5), classes=['cat', 'dog', 'owl'])",
        "return network, dict(classes=['cat', 'dog', 'owl'])",
        "network.classes = ['cat', 'dog', 'owl']; return network",
        "network.pretrained_cfg = dict(label_names=['cat', 'dog', 'owl']); return network",
    ],
)
def test_a_factory_may_name_its_classes(tmp_path: Path, ending: str) -> None:
    """Beside the preprocessing, alone, or on the network; without the first, the input is assumed."""
    loaded = load(written(tmp_path, ending))
    assert loaded.names == (("cat",), ("dog",), ("owl",)) and loaded.certain
    assert loaded.assumed == ("mean" not in ending)


@pytest.mark.parametrize("classes", ["'cat'", "[]", "[1, 2, 3]", "3"])
def test_classes_that_are_no_list_of_names(tmp_path: Path, classes: str) -> None:
    with pytest.raises(ModelError, match="classes are a list of names"):
        load(written(tmp_path, f"return network, dict(classes={classes})"))
    # An attribute of that name may be anything.
    assert load(written(tmp_path, f"network.classes = {classes}; return network")).names == ()


def test_a_head_for_more_of_wordnet_goes_by_wnids() -> None:
    timm = pytest.importorskip("timm")
    from lnbench.models.registry import timm_names

    for count, subset in ((1000, "imagenet-1k"), (11821, "imagenet-12k"), (21843, "imagenet-21k-goog")):
        network = timm.create_model("test_resnet", num_classes=count)
        names = timm_names(timm, network, count)
        info = timm.data.ImageNetInfo(subset)
        assert [own[0] for own in names] == info.label_names()
        assert all(info.index_to_description(k) in names[k] for k in range(0, count, 997))
    network.pretrained_cfg = {
        **network.pretrained_cfg,
        "label_names": ["n01440764", "n02102040"],
        "label_descriptions": {"n01440764": "tench, Tinca tinca"},
    }
    named = ("n01440764", "tench, Tinca tinca", "tench", "Tinca tinca")
    assert timm_names(timm, network, 2) == (named, ("n02102040",))
