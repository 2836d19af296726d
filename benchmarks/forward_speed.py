"""The forward pass by itself: float32 and bf16, as it is and under torch.compile.

    python -m benchmarks.forward_speed           # both networks
    python -m benchmarks.forward_speed --chunks  # ResNet-18 by chunk size, freed buffers kept and given back

CPU milliseconds an image on one thread, channels-last, freed buffers kept as in `lnbench evaluate`, the
least of several passes over a chunk of the engine's size; the first compiled call by the wall clock.
`freezing` is the compiler's option that folds weights and BatchNorm in. Writes results/forward_speed.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
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
PASSES = 6
CHUNKS = (1, 2, 4, 8, 16, 48)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", action="store_true")
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if parser.parse_args().chunks:
        found["resnet18 by chunk"] = by_chunk()
    else:
        found |= networks()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def by_chunk() -> dict[str, dict[str, float]]:
    """Milliseconds an image, in a process each: what malloc was told stays told."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(sweep, (name == "kept",)) for name in ("given back", "kept")}


def sweep(kept: bool) -> dict[str, float]:
    torch.set_num_threads(1)
    if kept:
        keep_freed()
    spec = registry.parse("torchvision:resnet18")
    network = registry.build(spec, classes=1000, pretrained=False).network.eval()
    network.to(memory_format=torch.channels_last)
    found = {}
    for chunk in CHUNKS:
        images = torch.randn(chunk, 3, 224, 224).to(memory_format=torch.channels_last)
        found[str(chunk)] = timed(network, images)
        print("kept" if kept else "given back", chunk, found[str(chunk)], flush=True)
    return found


def networks() -> dict[str, dict[str, float]]:
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
    return found


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
