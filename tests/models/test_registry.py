"""Networks by name, with the preprocessing of their makers, and one clear line for everything that fails."""

from __future__ import annotations

import dataclasses
import socket
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import nn

from lnbench.errors import CheckpointError, LnbenchError, ModelError, UsageError
from lnbench.models import checkpoint, registry
from lnbench.models.catalog import CIFAR, Kind
from lnbench.models.registry import Built, build, packaged_weights, parse
from lnbench.types import Geometry, InputNormalization

torchvision = pytest.importorskip("torchvision")


def built(spec: str, *, classes: int | None = None, pretrained: bool = False) -> Built:
    return build(parse(spec), classes=classes, pretrained=pretrained)


def refused(spec: str, kind: type[LnbenchError], **options: Any) -> str:
    with pytest.raises(kind) as caught:
        built(spec, **options)
    message = str(caught.value)
    assert type(caught.value) is kind and "\n" not in message and message.isprintable()
    return message


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and empty caches; gives torch's cache of weights."""

    def no(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", no)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


# -- ours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CIFAR)
def test_cifar(name: str) -> None:
    found = built(f"cifar:{name}")
    assert (found.classes, found.geometry) == (10, Geometry(32, 32))
    assert found.normalization == InputNormalization()
    assert packaged_weights(parse(f"cifar:{name}")) is None
    assert built(f"cifar:{name}", classes=100).network.linear.out_features == 100
    assert "give --weights" in refused(f"cifar:{name}", UsageError, pretrained=True)


def test_the_demo_fits_its_packaged_weights() -> None:
    found = built("demo", pretrained=True)
    path = packaged_weights(parse("demo"))
    assert path is not None and path.name in found.source
    stored = checkpoint.read(path)
    checkpoint.fit(found.network, stored)
    assert found.classes == checkpoint.classes_in(stored, found.network)
    assert found.geometry == Geometry(64, 64)
    assert built("demo", classes=3).classes == 3
    other = packaged_weights(parse("demo:localnorm"))
    assert other is not None and other.name == "demo-localnorm.safetensors"


# -- a file of the user's ----------------------------------------------------------------------------------


def factory_file(folder: Path, body: str, name: str = "net.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(body))
    return path


def test_a_factory_builds_with_its_neighbours(tmp_path: Path) -> None:
    factory_file(tmp_path, "WIDTH = 4", "lnbench_test_neighbour.py")
    path = factory_file(
        tmp_path,
        """
        from dataclasses import dataclass
        from torch import nn
        from lnbench_test_neighbour import WIDTH

        @dataclass
        class Options:
            width: "int" = WIDTH

        def build():
            return nn.Linear(3, Options().width)
        """,
    )
    found = built(f"{path}:build", pretrained=True)
    assert found.network.out_features == 4
    assert (found.classes, found.geometry, found.normalization) == (None, Geometry(), InputNormalization())
    assert str(path) in found.source


@pytest.mark.parametrize("name", ["num_classes", "classes"])
def test_a_factory_that_takes_classes_gets_them(tmp_path: Path, name: str) -> None:
    path = factory_file(tmp_path, f"from torch import nn\ndef build({name}=10): return nn.Linear(3, {name})")
    assert built(f"{path}:build").network.out_features == 10
    assert built(f"{path}:build", classes=7).network.out_features == 7


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    path = factory_file(tmp_path, "from torch import nn\ndef build(): return nn.Linear(3, 1)")
    assert built(f"{path}:build").network.out_features == 1
    path.write_text("from torch import nn\ndef build(): return nn.Linear(3, 222)  # longer")
    assert built(f"{path}:build").network.out_features == 222


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "has no function 'build'"),
        ("build = 3", "has no function 'build'"),
        ("def build(): return 3", "net.py:build returned a int, not a torch.nn.Module"),
        (
            "def build():\n    x = 1\n    return x / 0",
            "net.py, line 3: build() raised ZeroDivisionError: division by zero",
        ),
        ("def build(width): pass", "build() raised TypeError: build() missing 1 required"),
        ("1 +", "net.py, line 1: it raised SyntaxError: invalid syntax"),
        (
            "import nowhere_to_be_found",
            "line 1: it raised ModuleNotFoundError: No module named 'nowhere_to_be",
        ),
        ("import sys; sys.exit(0)", "line 1: it raised SystemExit: 0"),
        ("raise ValueError('a\\nb\\x1b[2J')", "line 1: it raised ValueError: a"),
        ("raise ValueError", "line 1: it raised ValueError: ValueError"),
        (
            "def build():\n    from torch import nn\n    return nn.LazyLinear(3)",
            "lazy layers without a shape",
        ),
        ("\0", "net.py"),
        ("def f(): f()\ndef build(): f()", "build() raised RecursionError: maximum recursion"),
    ],
)
def test_what_goes_wrong_in_a_file_is_one_line(tmp_path: Path, body: str, words: str) -> None:
    path = factory_file(tmp_path, body)
    assert words in refused(f"{path}:build", ModelError)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(f"{tmp_path}/net.py:build", ModelError)


def test_ctrl_c_in_a_factory_is_not_swallowed(tmp_path: Path) -> None:
    path = factory_file(tmp_path, "def build(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        built(f"{path}:build")


@pytest.fixture(autouse=True)
def clean_imports() -> Any:
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("lnbench_user_")]:
        del sys.modules[name]


# -- torchvision -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "geometry"),
    [
        ("torchvision:resnet18", Geometry(256, 224)),
        ("torchvision:resnet50", Geometry(232, 224)),
        ("torchvision:resnet50/IMAGENET1K_V1", Geometry(256, 224)),
        ("torchvision:efficientnet_b0", Geometry(256, 224, "bicubic")),
    ],
)
def test_torchvision_preprocessing_is_that_of_the_weights(spec: str, geometry: Geometry) -> None:
    found = built(spec)
    assert (found.geometry, found.normalization, found.classes) == (geometry, InputNormalization(), 1000)


@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_every_published_set_of_weights_has_a_geometry(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(
        torchvision.models, "get_model", lambda _, **options: made.update(options) or nn.Identity()
    )
    for weights in torchvision.models.get_model_weights(name):
        if not weights.meta["categories"]:
            assert "no classifier" in refused(f"torchvision:{name}/{weights.name}", ModelError)
            continue
        found = built(f"torchvision:{name}/{weights.name}", classes=5)
        steps = weights.transforms()
        crop, resize = found.geometry.crop, found.geometry.resize
        assert [crop] == list(steps.crop_size) and [resize] == list(steps.resize_size)
        assert found.geometry.interpolation == steps.interpolation.value
        assert (list(found.normalization.mean), list(found.normalization.std)) == (steps.mean, steps.std)
        assert made["num_classes"] == found.classes == 5 and made["weights"] is None


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_torchvision_heads_are_sized_and_counted(name: str) -> None:
    found = built(f"torchvision:{name}", classes=7)
    stored = checkpoint.Checkpoint(Path(), "", dict(found.network.state_dict()), {}, "", {})
    assert checkpoint.classes_in(stored, found.network) == 7
    with torch.inference_mode():
        assert found.network.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, 7)


def test_torchvision_names_are_checked() -> None:
    assert "did you mean resnet50" in refused("torchvision:resnet5O", UsageError)
    assert "unknown weights of resnet50 'V3'" in refused("torchvision:resnet50/V3", UsageError)
    assert "for 1000 classes, not 7" in refused(
        "torchvision:resnet18", ModelError, classes=7, pretrained=True
    )


def test_weights_that_cannot_be_downloaded_are_one_line(offline: Path) -> None:
    message = refused("torchvision:resnet18", CheckpointError, pretrained=True)
    assert message.startswith(
        f"torchvision:resnet18: its weights are not in {offline} and cannot be downloaded (no conn"
    )
    assert message.endswith("connect to the network once, or give --weights FILE")


def test_cached_weights_are_used_and_read_with_care(offline: Path) -> None:
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    offline.mkdir(parents=True)
    cached = offline / weights.url.rpartition("/")[2]
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), cached)
    found = built("torchvision:resnet18", pretrained=True)
    assert torch.equal(found.network.fc.weight, network.fc.weight)
    assert found.source == f"torchvision resnet18 IMAGENET1K_V1 ({cached.name})"
    cached.write_text("<html>")
    assert "HTML page" in refused("torchvision:resnet18", CheckpointError, pretrained=True)


def test_a_failing_download_leaves_nothing(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise RuntimeError('invalid hash value (expected "f37072fd", got "0000")')

    monkeypatch.setattr(registry, "reachable", lambda _: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", cut)
    assert "invalid hash value" in refused("torchvision:resnet18", CheckpointError, pretrained=True)
    assert list(offline.iterdir()) == []


# -- timm --------------------------------------------------------------------------------------------------


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("spec", "geometry"),
    [
        ("timm:resnet18.tv_in1k", Geometry(256, 224, "bilinear")),
        ("timm:resnet18", Geometry(288, 288, "bicubic")),
    ],
)
def test_timm_preprocessing_is_that_of_its_validation(timm: Any, spec: str, geometry: Geometry) -> None:
    found = built(spec, classes=7)
    assert (found.geometry, found.normalization, found.classes) == (geometry, InputNormalization(), 7)
    with torch.inference_mode():
        assert found.network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_every_timm_geometry_is_that_of_timms_own_transform(timm: Any) -> None:
    from timm.data import create_transform, resolve_data_config

    seen = set()
    for name in timm.list_pretrained():
        config = dataclasses.asdict(timm.get_pretrained_cfg(name))
        network = SimpleNamespace(pretrained_cfg=config)
        data = resolve_data_config({}, model=network, use_test_size=True)
        key = tuple(data.values())
        if key in seen or data["crop_mode"] == "border":
            continue
        seen.add(key)
        geometry, normalization = registry.timm_preprocessing(timm, network, parse("timm:x"))  # type: ignore[arg-type]
        resize, crop, *_, norm = create_transform(**data).transforms
        side = resize.size
        assert geometry.resize == (side if isinstance(side, int) else tuple(side)), name
        assert (geometry.crop, geometry.crop) == tuple(crop.size) or geometry.crop == tuple(crop.size), name
        assert geometry.interpolation == resize.interpolation.value, name
        assert torch.tensor(normalization.mean).equal(norm.mean) and torch.tensor(normalization.std).equal(
            norm.std
        )
    assert len(seen) > 20


def test_what_timm_feeds_otherwise_is_refused(timm: Any) -> None:
    network = SimpleNamespace(pretrained_cfg={"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,)})
    with pytest.raises(ModelError, match="only RGB networks"):
        registry.timm_preprocessing(timm, network, parse("timm:x"))  # type: ignore[arg-type]
    network = SimpleNamespace(pretrained_cfg={"crop_mode": "border"})
    with pytest.raises(ModelError, match="pads its pictures"):
        registry.timm_preprocessing(timm, network, parse("timm:x"))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="'random' interpolation"):
        registry.interpolation("random")


def test_timm_names_are_checked(timm: Any) -> None:
    assert "did you mean resnet" in refused("timm:resnet181", UsageError)
    assert "unknown weights of timm's resnet18 'resnet18.a9_in1k': did you mean resnet18.a" in refused(
        "timm:resnet18.a9_in1k", UsageError
    )
    assert "no published weights of its own" in refused("timm:test_vit4", CheckpointError, pretrained=True)


@pytest.mark.parametrize("spec", ["timm:resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"])
def test_an_unreachable_hub_is_one_line_and_leaves_its_client_alone(
    timm: Any, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    before = constants.HF_HUB_OFFLINE
    message = refused(spec, CheckpointError, pretrained=True)
    assert message.startswith(
        f"{spec}: its weights are not in {tmp_path / 'hub'} and cannot be downloaded (no connection"
    )
    assert before == constants.HF_HUB_OFFLINE


def test_a_network_that_timm_cannot_build_is_one_line(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("unexpected\nargument")

    monkeypatch.setattr(timm, "create_model", fail)
    assert refused("timm:resnet18", ModelError) == "timm:resnet18 cannot be built: unexpected argument"


def test_without_timm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "pip install 'lnbench[timm]'" in refused("timm:resnet18", ModelError)


def test_every_kind_has_a_builder() -> None:
    assert set(registry.BUILDERS) == set(get_args(Kind))
