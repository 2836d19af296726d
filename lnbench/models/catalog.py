"""Which networks can be asked for, by name. No torch: `lnbench list models` starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lnbench.errors import UsageError, unknown

Kind = Literal["torchvision", "timm", "hf-hub", "cifar", "demo", "file"]

CIFAR = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
# What one types after "demo:" → file name in models/weights; "demo" alone is the first.
DEMO = ("batchnorm", "localnorm")
# Examples only: what torchvision really offers is asked of the installed release when a network is built.
TORCHVISION = {
    "alexnet": "AlexNet, the baseline of mCE; no norm layers",
    "convnext_tiny": "ConvNeXt tiny, small, base, large; layer norm, so no modes",
    "densenet121": "DenseNet 121, 161, 169, 201",
    "efficientnet_b0": "EfficientNet b0 … b7, v2_s, v2_m, v2_l",
    "googlenet": "GoogLeNet; also inception_v3",
    "mnasnet1_0": "MnasNet 0_5, 0_75, 1_0, 1_3",
    "mobilenet_v2": "MobileNet v2, v3_small, v3_large",
    "regnet_y_400mf": "RegNet x and y, 400mf … 32gf",
    "resnet50": "ResNet 18, 34, 50, 101, 152",
    "resnet50/IMAGENET1K_V1": "the same with one of its published sets of weights",
    "resnext50_32x4d": "ResNeXt; also wide_resnet50_2, wide_resnet101_2",
    "shufflenet_v2_x1_0": "ShuffleNet v2 x0_5 … x2_0",
    "squeezenet1_1": "SqueezeNet 1_0, 1_1; no norm layers",
    "swin_t": "Swin transformers; layer norm, so no modes",
    "vgg16_bn": "VGG 11, 13, 16, 19 with BatchNorm; without _bn no norm layers",
    "vit_b_16": "vision transformers; layer norm, so no modes",
}
FORMS = (
    "torchvision:NAME, timm:NAME, hf-hub:ORG/NAME, cifar:NAME, FILE.py:FACTORY, demo (`lnbench list models`)"
)


@dataclass(frozen=True)
class ModelSpec:
    """One network asked for. `str()` gives the text that parses back.

    `name` is the network's (or the file's, or the hub's) name; `variant` the torchvision weights, the factory
    in a file, else None.
    """

    kind: Kind
    name: str
    variant: str | None = None

    def __str__(self) -> str:
        if self.kind == "file":
            return f"{self.name}:{self.variant}"
        if self.kind == "demo":
            return "demo" if self.name == DEMO[0] else f"demo:{self.name}"
        return f"{self.kind}:{self.name}" + (f"/{self.variant}" if self.variant else "")


def parse(spec: str) -> ModelSpec:
    """Read a model specification; what needs a library to be known is checked when the network is built.

    Raises UsageError, with near names.
    """
    text = spec.strip()
    path, colon, factory = text.rpartition(":")
    if colon and path.endswith(".py"):
        if not factory.isidentifier():
            raise UsageError(f"--model {spec}: '{factory}' is not the name of a function in {path}")
        return ModelSpec("file", path, factory)
    if text.endswith(".py"):
        raise UsageError(f"--model {spec}: name the function that builds the network, as in {spec}:build")
    kind, colon, name = text.partition(":")
    if kind == "demo":
        if colon and name not in DEMO:
            raise unknown("demo network", name, DEMO)
        return ModelSpec("demo", name or DEMO[0])
    if kind not in ("torchvision", "timm", "hf-hub", "cifar"):
        if colon:
            raise unknown("source of models", kind, ("torchvision", "timm", "hf-hub", "cifar", "demo"))
        raise UsageError(f"--model {spec}: say where it comes from: {FORMS}")
    if not name or any(c.isspace() or c == ":" for c in name):
        raise UsageError(f"--model {spec}: '{name}' is no name; the forms are {FORMS}")
    if kind == "cifar" and name not in CIFAR:
        raise unknown("CIFAR network", name, CIFAR)
    if kind == "hf-hub" and name.count("/") != 1:
        raise UsageError(f"--model {spec}: the hub's names are hf-hub:ORG/NAME")
    if kind == "torchvision":
        name, slash, variant = name.partition("/")
        return ModelSpec("torchvision", name, variant if slash else None)
    return ModelSpec(kind, name)  # type: ignore[arg-type]


def listing() -> list[tuple[str, str]]:
    """Name to type and one-line description of each kind of network, for `lnbench list models`."""
    return [
        ("demo", "the bundled network with BatchNorm and its weights, 64 px"),
        ("demo:localnorm", "the same network trained with LocalNorm"),
        *(
            (f"cifar:{name}", f"{name} for 32 px images (He et al., option A); needs --weights")
            for name in CIFAR
        ),
        *((f"torchvision:{name}", text) for name, text in TORCHVISION.items()),
        ("timm:NAME", "any network of timm with its weights, e.g. timm:resnet18.a1_in1k"),
        ("hf-hub:ORG/NAME", "a timm network from the Hugging Face hub"),
        ("FILE.py:FACTORY", "a function of yours that returns the network, e.g. net.py:build"),
    ]
