"""From 8-bit pixels to logits: the normalization, the precision, the memory format."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lnbench.errors import ModelError
from lnbench.models.checkpoint import fit, read
from lnbench.models.cifar import cifar_network
from lnbench.models.classifier import Classifier, multiply_add
from lnbench.types import InputNormalization

IMAGENET = InputNormalization()
PLAIN = InputNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Corner(nn.Module):
    """Its logits are the normalized pixels of the top left corner; it keeps what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x[:, :, 0, 0]


class Norms(nn.Module):
    """One of each: a weight, a BatchNorm, a frozen BatchNorm in plain arithmetic, a GroupNorm."""

    def __init__(self) -> None:
        super().__init__()
        frozen = pytest.importorskip("torchvision").ops.FrozenBatchNorm2d
        self.body = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, 8, 3), bn=nn.BatchNorm2d(8), frozen=frozen(8), group=nn.GroupNorm(2, 8)
            )
        )
        self.last = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.body(x)).mean((2, 3)))  # type: ignore[no-any-return]


def every_byte() -> Tensor:
    """uint8 (256, 3, 1, 1): image i is grey level i."""
    return torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(-1, 3, -1, -1).contiguous()


@pytest.mark.parametrize("norm", [IMAGENET, PLAIN, InputNormalization((0.5, 0.4, 0.3), (1 / 255, 0.2, 0.7))])
def test_normalization_of_every_byte(norm: InputNormalization) -> None:
    logits = Classifier(Corner(), norm).logits(every_byte())  # (256, 3)
    exact = (np.arange(256)[:, None] / 255 - np.array(norm.mean)) / np.array(norm.std)
    # One rounding each of scale, offset and the sum, in float32.
    assert np.abs(logits.double().numpy() - exact).max() <= 3 * 2**-24 * (np.abs(exact).max() + 255)


def test_scale_and_offset_fold_the_division() -> None:
    scale, offset = multiply_add(IMAGENET)
    assert scale.shape == offset.shape == (1, 3, 1, 1)
    assert scale.dtype == offset.dtype == torch.float32


def test_renormalized_shares_the_network_and_leaves_the_first_alone() -> None:
    first = Classifier(Corner(), IMAGENET)
    before = first.logits(every_byte())
    second = first.renormalized(PLAIN)
    assert second.network is first.network
    assert torch.allclose(second.logits(every_byte())[:, 0], torch.arange(256) / 255)
    assert torch.equal(first.logits(every_byte()), before)


def test_memory_format_reaches_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Corner())
    classifier = Classifier(network, IMAGENET)
    classifier.logits(torch.zeros(2, 3, 6, 6, dtype=torch.uint8))
    for tensor in (network[0].weight, network[1].seen):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_the_network_is_set_for_evaluation() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(), Corner()).double()
    classifier = Classifier(network, IMAGENET)
    assert not any(module.training for module in classifier.network.modules())
    assert not any(p.requires_grad or p.dtype != torch.float32 for p in network.parameters())
    logits = classifier.logits(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert logits.dtype == torch.float32 and not logits.requires_grad


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_keeps_statistics_whole(precision: str) -> None:
    network = Norms()
    classifier = Classifier(network, IMAGENET, precision=precision)  # type: ignore[arg-type]
    reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    types = {name: value.dtype for name, value in network.state_dict().items()}
    whole = {name for name, dtype in types.items() if dtype == torch.float32}
    assert whole == {
        name for name in types if name.startswith(("body.bn.", "body.frozen.")) and "tracked" not in name
    }
    assert types["body.bn.num_batches_tracked"] == torch.long
    assert {types["body.conv.weight"], types["body.group.weight"], types["fc.bias"]} == {reduced}
    pixels = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    with torch.inference_mode():
        logits = classifier.logits(pixels)
    assert logits.dtype == torch.float32 and logits.shape == (2, 5)


def test_bfloat16_predicts_almost_as_float32() -> None:
    torch.manual_seed(0)
    network = cifar_network("resnet20")
    with torch.inference_mode():
        pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
        whole = Classifier(network, IMAGENET).logits(pixels)
        reduced = Classifier(network, IMAGENET, precision="bf16").logits(pixels)
    # bfloat16 keeps 8 bits; 20 layers lose a few of them.
    assert (whole - reduced).abs().max() < 0.1 * whole.abs().max()
    assert not torch.equal(whole, reduced)


class Tuple(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Tuple(), "Tuple returns a tuple for 2 images"),
        (nn.Identity(), r"Identity returns shape \(2, 3, 8, 8\) for 2 images"),
        (nn.Flatten(0), r"Flatten returns shape \(384,\)"),
        (nn.Flatten(0, 2), r"Flatten returns shape \(48, 8\) for 2 images"),
    ],
)
def test_what_is_no_classifier_is_told_so(network: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Classifier(network, IMAGENET).logits(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_classes_are_counted_by_running() -> None:
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 6, 7)), IMAGENET)
    assert classifier.classes(8, 6) == 7
    with pytest.raises(
        ModelError, match=r"cannot take 32×32 images \(.*mat1 and mat2 shapes.*\): give --resize and --crop"
    ):
        classifier.classes(32, 32)


@pytest.mark.parametrize(
    ("name", "file", "right"),
    [("resnet20", "cifar10_resnet20-12fca82f.th", 776), ("resnet56", "cifar10_resnet56-4bfd9763.th", 789)],
)
def test_published_accuracy_on_real_images(shared: Path, name: str, file: str, right: int) -> None:
    data = np.load(shared / "data" / "cifar10_test_846.npz")
    pixels = torch.from_numpy(data["images"]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(data["labels"])
    network = cifar_network(name)
    fit(network, read(shared / "checkpoints" / file))
    classifier = Classifier(network, IMAGENET)
    with torch.inference_mode():
        predicted = torch.cat(
            [classifier.logits(pixels[i : i + 50]).argmax(1) for i in range(0, len(pixels), 50)]
        )
    assert int((predicted == labels).sum()) == right


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_predicts_as_the_cpu(precision: str) -> None:
    torch.manual_seed(0)
    network = Norms()
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        here = Classifier(network, IMAGENET).logits(pixels)
        there = Classifier(network, IMAGENET, device="cuda", precision=precision).logits(pixels).cpu()  # type: ignore[arg-type]
    # TF32 convolutions keep 11 bits, bfloat16 8.
    assert (here - there).abs().max() < 0.1 * here.abs().max()
