"""Which networks can be asked for, by name. No torch: `lnbench list models` starts at once."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, Literal

from lnbench.errors import UsageError, unknown

Kind = Literal["torchvision", "timm", "hf-hub", "cifar", "demo", "file", "module"]

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
    "torchvision:NAME, timm:NAME, hf-hub:ORG/NAME, cifar:NAME, FILE.py:FACTORY, PACKAGE.MODULE:FACTORY, demo "
    "(`lnbench list models`)"
)


@dataclass(frozen=True)
class ModelSpec:
    """One network asked for. `str()` gives the text that parses back.

    `name` is the network's (or the file's, or the hub's) name; `variant` the torchvision weights, the factory
    in a file, else None. `arguments`: of a factory, as they are written: `width=2, depth=(1, 2)`.
    """

    kind: Kind
    name: str
    variant: str | None = None
    arguments: str = ""

    @property
    def given(self) -> dict[str, Any]:
        """The factory's arguments by name."""
        return _values(self.arguments)

    def __str__(self) -> str:
        if self.kind in ("file", "module"):
            return f"{self.name}:{self.variant}" + (f"({self.arguments})" if self.arguments else "")
        if self.kind == "demo":
            return "demo" if self.name == DEMO[0] else f"demo:{self.name}"
        return f"{self.kind}:{self.name}" + (f"/{self.variant}" if self.variant else "")


def parse(spec: str) -> ModelSpec:
    """Read a model specification; what needs a library to be known is checked when the network is built.

    Raises UsageError, with near names.
    """
    text = spec.strip()
    if (own := _own(text)) is not None:
        return own
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


def _own(text: str) -> ModelSpec | None:
    """A factory of a person's own, `FILE.py:NAME(…)` or `package.module:NAME(…)`, or None. UsageError."""
    match = re.fullmatch(r"(?s)(.*?\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)+):(.*)", text)
    if match is None:
        return None
    place, factory = match.groups()
    while ".py:" in factory:  # a folder may have that name
        more, factory = factory.split(".py:", 1)
        place += f":{more}.py"
    name, bracket, rest = factory.partition("(")
    if not name.isidentifier():
        raise UsageError(
            f"--model {text[:200]}: '{name[:80]}' is not the name of a function in {place[:200]}"
        )
    kind: Kind = "file" if place.endswith(".py") else "module"
    if not bracket:
        return ModelSpec(kind, place, name)
    if not rest.endswith(")"):
        raise UsageError(f"--model {text[:200]}: arguments end in ')'")
    values = _values(rest[:-1])
    return ModelSpec(kind, place, name, ", ".join(f"{key}={value!r}" for key, value in values.items()))


_MOST_ARGUMENTS = 2000  # characters


def _values(text: str) -> dict[str, Any]:
    """`width=2, kind='wide'` → names and plain values; nothing is run. Raises UsageError."""
    wrong = UsageError(
        f"--model: '{text[:200]}' are no arguments; write name=value, with numbers, 'texts', True, None, "
        "lists: net.py:build(width=2, kind='wide')"
    )
    if len(text) > _MOST_ARGUMENTS:
        raise wrong
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise wrong
        found = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise wrong from None
    if len(found) < len(call.keywords):  # **rest
        raise wrong
    return found


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
        ("FILE.py:FACTORY", "a function of yours that returns the network, e.g. net.py:build(width=2)"),
        ("PACKAGE.MODULE:FACTORY", "the same in a module that can be imported, e.g. mine.nets:build"),
    ]
