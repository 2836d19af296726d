"""What a mode and LocalNorm cost: forward passes, one layer's training step, a whole network's.

    python -m benchmarks.norm_cost > benchmarks/results/norm_cost.md

Processor time of one thread, the least of several rounds; the rivals of a row take turns, so that whatever
else the machine does meets all of them. Minutes. docs/modes.md shows these tables.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import torch
from torch import nn

from lnbench.memory import keep_freed
from lnbench.models import registry
from lnbench.models.classifier import Classifier
from lnbench.norm import wrap
from lnbench.norm.convert import convert_localnorm
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.types import InputNormalization

ROUNDS = 7
NETWORKS = {  # title, classes, side, images
    "cifar:resnet20": ("ResNet-20, 32 px", 10, 32, 48),
    "torchvision:resnet18": ("ResNet-18, 224 px", 1000, 224, 8),
}
MODES = ("batch", "local", "blend:N=16", "blend:N=16,scope=batch", "adapt:n=32", "adapt:n=32,draws=16")
ON_LOCALNORM = ("fixed", "batch", "blend:N=16", "local:group=0", "local")
LAYERS = ((128, 16, 32), (128, 64, 8), (32, 64, 56), (32, 512, 7))  # images, channels, side
Work = Callable[[], object]


def main() -> None:
    torch.set_num_threads(1)
    keep_freed()
    print("# What a mode costs\n")
    print(f"`python -m benchmarks.norm_cost`; processor time of one thread, least of {ROUNDS} rounds;")
    print(f"{processor()}, PyTorch {torch.__version__}, channels-last float32.\n")
    print("Forward passes beside `fixed` of the BatchNorm network, `adapt` without those over its draws:\n")
    rows = [forward(name) for name in NETWORKS]
    print("| | " + " | ".join(title for title, _ in rows) + " |")
    print("|:--|" + "--:|" * len(rows))
    for name in rows[0][1]:
        print(f"| {name} | " + " | ".join(f"{found[name]:.2f}" for _, found in rows) + " |")
    print("\nForward and backward of one layer, milliseconds:\n")
    print("| input | BatchNorm2d | LocalNorm2d K = 8 | K = 32 |")
    print("|:--|--:|--:|--:|")
    for shape in LAYERS:
        for last in (False, True):
            print(layer(shape, last), flush=True)
    print("\nA training step of ResNet-18 at 224 px, 16 images, LocalNorm of K = 4 beside BatchNorm:\n")
    print("| layout | cost |")
    print("|:--|--:|")
    for last in (False, True):
        print(f"| {'channels-last' if last else 'usual'} | {whole_step(last):.2f} |", flush=True)


def least(rivals: dict[str, Work], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of each, the least of several rounds in turn; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
        for name, work in rivals.items():
            started = time.process_time()
            work()
            taken[name].append(time.process_time() - started)
    return {name: min(found[1:]) for name, found in taken.items()}


def forward(spec: str) -> tuple[str, dict[str, float]]:
    """Title of a network, and each mode's pass beside its `fixed`."""
    title, classes, side, count = NETWORKS[spec]
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    rivals: dict[str, Work] = {}
    for groups, modes in ((1, ("fixed", *MODES)), (8, ON_LOCALNORM)):
        network = registry.build(registry.parse(spec), classes=classes, pretrained=False).network
        if groups > 1:
            convert_localnorm(network, groups=groups)
        classifier = Classifier(network.to(memory_format=torch.channels_last), InputNormalization())
        layers = wrap.attach(classifier.network)
        for text in modes:
            name = f"LocalNorm K = 8, `{text}`" if groups > 1 else f"`{text}`"
            rivals[name] = passing(classifier, layers, text, images)
    found = least(rivals)
    base = found.pop("`fixed`")
    return title, {name: value / base for name, value in found.items()}


def passing(classifier: Classifier, layers: wrap.NormLayers, text: str, images: torch.Tensor) -> Work:
    """One pass of all images in a mode."""
    mode, state = parse(text), State()

    def work() -> None:
        with torch.inference_mode():
            layers.use(mode, state)
            mode.predict(classifier.logits, images, state, layers.groups)

    layers.use(mode, state)
    with torch.inference_mode():
        mode.begin(classifier.logits, lambda *_: images, state)
    if mode.draws > 1:
        state.draw = torch.arange(len(images)) % mode.draws
    return work


def layer(shape: tuple[int, int, int], last: bool) -> str:
    """A row: forward and backward of a layer in training."""
    count, channels, side = shape
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(count, channels, side, side).to(memory_format=layout).requires_grad_()
    gradient = torch.randn_like(x)
    rivals = {
        "b": step(nn.BatchNorm2d(channels), x, gradient),
        **{str(k): step(LocalNorm2d(channels, groups=k), x, gradient) for k in (8, 32)},
    }
    shown = " | ".join(f"{1000 * value:.1f}" for value in least(rivals).values())
    return f"| {count}×{channels}×{side}×{side}{', channels-last' if last else ''} | {shown} |"


def step(module: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> Work:
    return lambda: module(x).backward(gradient)


def whole_step(last: bool) -> float:
    """A training step with LocalNorm beside one with BatchNorm."""
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(16, 3, 224, 224).to(memory_format=layout)
    rivals: dict[str, Work] = {}
    for groups in (1, 4):
        network = registry.build(
            registry.parse("torchvision:resnet18"), classes=1000, pretrained=False
        ).network.train()
        if groups > 1:
            convert_localnorm(network, groups=groups)
        network.to(memory_format=layout)
        rivals[str(groups)] = lambda network=network: network(x).square().mean().backward()  # type: ignore[misc]
    found = least(rivals, rounds=5)
    return found["4"] / found["1"]


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
