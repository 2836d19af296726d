"""What the examination says of networks that are not what they seem, and that it is silent of all others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import timm.layers
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from lnbench import config
from lnbench.errors import ModelError
from lnbench.evaluate import evaluation
from lnbench.evaluate.examine import examine
from lnbench.evaluate.prepare import Subject
from lnbench.models.classifier import Classifier
from lnbench.norm.convert import convert_localnorm
from lnbench.norm.modes.registry import parse
from lnbench.norm.wrap import attach
from lnbench.types import InputNormalization
from tests.networks import CLASSES, write_task


class Buffered(nn.Module):
    """Batch normalization as a person writes it, over buffers with names of their own."""

    def __init__(self, channels: int, training: bool = False, functional: bool = True) -> None:
        super().__init__()
        self.register_buffer("moving_mean", 0.1 * torch.ones(channels))
        self.register_buffer("moving_var", 2 * torch.ones(channels))
        self.always, self.functional = training, functional

    def forward(self, x: Tensor) -> Tensor:
        if self.functional:
            mean, var = (self.moving_mean, self.moving_var) if not self.always else (None, None)
            return F.batch_norm(x, mean, var, training=self.always)
        mean, var = self.moving_mean.view(1, -1, 1, 1), self.moving_var[:, None, None]
        return (x - mean) * torch.rsqrt(var + 1e-5)


class Moving(Buffered):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.moving_mean, self.moving_var, training=True)


class ByHand(nn.Module):
    """Always the batch's statistics, in plain arithmetic."""

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()


class Net(nn.Module):
    """Two convolutions, a norm layer after each, a head."""

    def __init__(self, first: Callable[[int], nn.Module], second: Callable[[int], nn.Module] | None = None):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), first(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3, 2, 1, bias=False), (second or first)(12)
        self.head = nn.Linear(12, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).relu()
        return self.norm2(self.conv2(x)).relu().mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Trains(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.train()
        x = super().forward(x)
        self.eval()
        return x


class Listed(Net):
    """A norm layer in a plain list; where `known`, it is an attribute as well."""

    def __init__(self, known: bool, evaluated: bool = False) -> None:
        super().__init__(nn.BatchNorm2d)
        self.norms = [self.norm1 if known else nn.BatchNorm2d(8)]
        if evaluated:
            self.norms[0].eval()

    def features(self, x: Tensor) -> Tensor:
        x = self.norms[0](self.conv1(x)).relu()
        return self.norm2(self.conv2(x)).relu().mean((2, 3))


class Reads(Net):
    """Uses what a norm layer stored, without calling it."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d)

    def features(self, x: Tensor) -> Tensor:
        norm = self.norm1
        x = (self.conv1(x) - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps)[
            :, None, None
        ].sqrt()
        return self.norm2(self.conv2(x.relu())).relu().mean((2, 3))


class Ends(Net):
    """Gives something else than the head's scores."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__(nn.BatchNorm2d)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(super().forward(x))


def hooked() -> nn.Module:
    network = Net(nn.BatchNorm2d)
    network.norm2.register_forward_hook(lambda module, inputs, output: 2 * output)
    return network


def watched() -> nn.Module:
    network = Net(nn.BatchNorm2d)
    network.norm2.register_forward_hook(lambda module, inputs, output: None)
    return network


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it is deprecated
        return torch.jit.script(Net(nn.BatchNorm2d))


def converted() -> nn.Module:
    return convert_localnorm(Net(nn.BatchNorm2d), groups=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> evaluation.Prepared:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"))
    chosen = {"model": model, "weights": weights, "data": data, "modes": ["fixed"]}
    return evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])


@pytest.fixture(autouse=True)
def no_hooks_are_left() -> Iterator[None]:
    module = torch.nn.modules.module
    before = len(module._global_forward_pre_hooks), len(module._global_forward_hooks)
    yield
    assert before == (len(module._global_forward_pre_hooks), len(module._global_forward_hooks))


def said(prepared: evaluation.Prepared, network: nn.Module, *modes: str) -> tuple[str, ...]:
    torch.manual_seed(0)
    classifier = Classifier(network, InputNormalization())
    subject: Subject = replace(
        prepared.subjects[0], classifier=classifier, layers=attach(network),
        modes=tuple(parse(text) for text in modes or ("fixed", "batch")),
    )  # fmt: skip
    return examine(subject, prepared.images.clean)


UNREACHED = "normalizes by stored statistics where no mode reaches: "
NONE = "this network has no normalization layers with stored statistics: every mode equals fixed"
COMPANY = "an image's output changes with the images beside it"
NOTES: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "functional over buffers": (
        lambda: Net(Buffered),
        (f"{UNREACHED}'norm1' (batch_norm), 'norm2' (batch_norm); modes change nothing here",),
    ),
    "arithmetic over buffers": (
        lambda: Net(lambda channels: Buffered(channels, functional=False)),
        (f"{UNREACHED}'norm1' (moving_mean, moving_var), 'norm2' (moving_mean, moving_var); modes change",),
    ),
    "EvoNorm B0": (
        lambda: Net(timm.layers.EvoNorm2dB0),
        (f"{UNREACHED}'norm1' (running_var), 'norm2' (running_var); modes change nothing here",),
    ),
    "one seen beside one unseen": (
        lambda: Net(nn.BatchNorm2d, Buffered),
        (f"{UNREACHED}'norm2' (batch_norm); modes change the other 1 norm layers alone",),
    ),
    "also in a plain list": (
        lambda: Listed(known=True),
        (f"{UNREACHED}'norm1' (batch_norm); modes change",),
    ),
    "in a plain list, in evaluation": (
        lambda: Listed(known=False, evaluated=True),
        (f"{UNREACHED}BatchNorm2d that is not registered (batch_norm); modes change",),
    ),
    "reads the layer's statistics": (Reads, (f"{UNREACHED}forward of Reads (running_mean, running_var)",)),
    "always batch statistics": (
        lambda: Net(lambda channels: Buffered(channels, training=True)),
        (f"{COMPANY} ('norm1', 'norm2'), in mode fixed too", NONE),
    ),
    "batch statistics by hand": (lambda: Net(lambda _: ByHand()), (f"{COMPANY}, in mode fixed too", NONE)),
    "hook": (hooked, ("'norm2' does more in mode fixed than normalize",)),
    "softmax": (lambda: Ends(lambda y: y.softmax(1)), ("its outputs are probabilities already",)),
    "random": (
        lambda: Ends(lambda y: y + torch.rand_like(y)),
        ("gives other outputs for the same images each time",),
    ),
    "GroupNorm": (lambda: Net(lambda channels: nn.GroupNorm(4, channels)), (NONE,)),
    "InstanceNorm": (lambda: Net(nn.InstanceNorm2d), (f"{NONE}; it normalizes by each image's own",)),
    "no normalization": (lambda: Net(lambda _: nn.Identity()), (NONE,)),
    "vision transformer": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=4),
        (NONE,),
    ),
    "standardized convolutions": (
        lambda: Net(lambda channels: timm.layers.ScaledStdConv2d(channels, channels, 3)),
        (NONE,),
    ),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_is_said(prepared: evaluation.Prepared, name: str) -> None:
    build, wanted = NOTES[name]
    found = said(prepared, build())
    assert len(found) == len(wanted), found
    for text, start in zip(found, wanted, strict=True):
        assert text.startswith(start)


WELL_BEHAVED: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Net(nn.BatchNorm2d),
    "ResNet": lambda: torchvision.models.resnet18(num_classes=4),
    "EfficientNet-Lite0": lambda: timm.create_model("efficientnet_lite0", num_classes=4),
    "LocalNorm": converted,
    "BatchNorm beside GroupNorm": lambda: Net(nn.BatchNorm2d, lambda channels: nn.GroupNorm(3, channels)),
    "a hook that only looks": watched,
    "blurred pooling": lambda: timm.create_model("resnetblur18", num_classes=4),
    "log-probabilities": lambda: Ends(lambda y: y.log_softmax(1)),
    "not numbers": lambda: Ends(lambda y: y.index_fill(0, torch.tensor([1]), float("nan"))),
}


@pytest.mark.parametrize("name", WELL_BEHAVED)
@pytest.mark.parametrize("modes", [("fixed",), ("fixed", "batch", "local")], ids=["fixed", "all"])
def test_the_well_behaved_are_not_spoken_of(
    prepared: evaluation.Prepared, name: str, modes: tuple[str, ...]
) -> None:
    assert said(prepared, WELL_BEHAVED[name](), *modes) == ()


@pytest.mark.parametrize(
    "name", ["functional over buffers", "EvoNorm B0", "one seen beside one unseen", "hook", "GroupNorm",
             "reads the layer's statistics"],
)  # fmt: skip
def test_what_modes_do_not_reach_is_right_in_fixed(prepared: evaluation.Prepared, name: str) -> None:
    assert said(prepared, NOTES[name][0](), "fixed") == ()


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "train() in forward": (
        lambda: Trains(nn.BatchNorm2d),
        r"puts norm layers into training mode \('norm1', 'norm2'\).*take train\(\) out of forward",
    ),
    "in a plain list": (
        lambda: Listed(known=False),
        r"calls a BatchNorm2d that is not registered.*keep it in an nn.ModuleList",
    ),
    "buffers that move": (lambda: Net(Moving), r"changes the buffer 'norm1.moving_mean' in evaluation"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("modes", [("fixed",), ("fixed", "batch")], ids=["fixed", "more"])
def test_what_is_refused(prepared: evaluation.Prepared, name: str, modes: tuple[str, ...]) -> None:
    build, line = REFUSED[name]
    with pytest.raises(ModelError, match=f"^net: its forward {line}"):
        said(prepared, build(), *modes)


def test_a_scripted_network_runs_in_fixed_alone(prepared: evaluation.Prepared) -> None:
    assert said(prepared, scripted(), "fixed") == ()
    with pytest.raises(ModelError, match=r"^net: the network is a torch.jit module.*or --norm fixed alone"):
        said(prepared, scripted(), "fixed", "batch")


def test_notes_are_warned_of_and_recorded(tmp_path: Path) -> None:
    model, weights, data = write_task(tmp_path)
    text = (
        (tmp_path / "net.py")
        .read_text()
        .replace("nn.Linear(8, classes),", "nn.Linear(8, classes), nn.Softmax(1),")
    )
    (tmp_path / "net.py").write_text(text)
    chosen = {"model": model, "weights": weights, "data": data, "modes": ["fixed"], "corruptions": ["clean"]}
    heard: list[str] = []
    observer = evaluation.Observer(warning=heard.append)
    ready = evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)], observer=observer)
    (outcome,) = evaluation.evaluate(ready, [tmp_path / "run"])
    (warning,) = [text for text in heard if "probabilities" in text]
    assert warning.removeprefix("net: ") in outcome.record.deviations
