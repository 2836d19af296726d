"""The forward pass by itself: float32 and bf16, as it is and under torch.compile.

    python -m benchmarks.forward_speed

CPU milliseconds an image on one thread, channels-last, freed buffers kept as in `lnbench evaluate`, the
least of several passes over a chunk of the engine's size; the first compiled call by the wall clock.
`freezing` is the compiler's option that folds weights and BatchNorm in. Writes results/forward_speed.json.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lnbench.memory import keep_freed
from lnbench.models import registry

RESULTS = Path(__file__).parent / "results" / "forward_speed.json"
CASES = {"cifar:resnet20": (10, 32, 64), "torchvision:resnet18": (1000, 224, 16)}  # classes, side, chunk
PASSES = 12


def main() -> None:
    torch.set_num_threads(1)
    keep_freed()
    found = {}
    for name, (classes, side, chunk) in CASES.items():
        network = registry.build(registry.parse(name), classes=classes, pretrained=False).network.eval()
        network.to(memory_format=torch.channels_last)
        images = torch.randn(chunk, 3, side, side).to(memory_format=torch.channels_last)
        row = {"chunk": chunk, "fp32": timed(network, images)}
        for option in ("compiled", "freezing"):
            row |= compiled(network, images, option)
        row["bf16"] = timed(network.to(torch.bfloat16), images.to(torch.bfloat16))
        found[name] = row
        print(name, json.dumps(row), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def timed(network: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Milliseconds an image."""
    taken = []
    with torch.no_grad():
        for _ in range(PASSES + 1):
            started = time.process_time()
            network(images)
            taken.append(time.process_time() - started)
    return round(1000 * min(taken[1:]) / len(images), 3)


def compiled(network: nn.Module, images: Tensor, option: str) -> dict[str, float]:
    """The same under torch.compile, and the seconds of its first call."""
    torch.compiler.reset()
    options: dict[str, str | int | bool | Callable[..., object]] = {"freezing": option == "freezing"}
    faster = torch.compile(network, options=options)
    started = time.perf_counter()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        faster(images)
    return {
        f"{option}_first_call_s": round(time.perf_counter() - started, 1),
        option: timed(faster, images),
    }


if __name__ == "__main__":
    main()
