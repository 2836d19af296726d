"""Does the Python API count what the command line counts? Every cell of a run, image by image.

    python -m benchmarks.api_command --data npz:LOSSLESS.npz --weights RESNET20.th

evaluates a ResNet-20 on CIFAR-10 images twice, as a module with arrays in Python and by `lnbench evaluate`,
under `core` at severities 1, 3 and 5 in three modes, and writes benchmarks/results/api_command.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import lnbench
from lnbench.models import checkpoint, registry

RESULTS = Path(__file__).parent / "results" / "api_command.md"
MODES = ("fixed", "batch", "local:layers=first1")
SEVERITIES = (1, 3, 5)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the ResNet-20 was trained with


def network(weights: Path) -> Any:
    """The ResNet-20 as a plain torch.nn.Module."""
    built = registry.build(registry.parse("cifar:resnet20"), classes=10, pretrained=False).network
    checkpoint.fit(built, checkpoint.read(weights))
    return built


def arrays(spec: str, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The first images uint8 (N, 32, 32, 3) and labels of an npz:PATH."""
    with np.load(spec.partition(":")[2]) as content:
        return content["images"][:limit], content["labels"][:limit]


def in_python(images: np.ndarray, labels: np.ndarray, weights: Path) -> lnbench.RunRecord:
    return lnbench.evaluate(
        network(weights), (images, labels), corruptions="core", severities=SEVERITIES, modes=MODES,
        mean=MEAN, std=STD, resize=32, crop=32, batch_size=200, device="cpu", seed=0, out=None,
        progress=False,
    )  # fmt: skip


def words(data: Path, weights: Path, folder: Path) -> list[str]:
    """The same as a command line."""
    found: list[object] = ["evaluate", "--model", "cifar:resnet20", "--weights", weights]
    found += ["--data", f"npz:{data}", "--preset", "core"]
    found += [word for severity in SEVERITIES for word in ("--severity", severity)]
    found += [word for mode in MODES for word in ("--norm", mode)]
    found += ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]
    found += ["--batch-size", 200, "--device", "cpu", "--out", folder]
    return [str(word) for word in found]


def by_command(data: Path, weights: Path, folder: Path) -> lnbench.RunRecord:
    command = [sys.executable, "-m", "lnbench", *words(data, weights, folder)]
    subprocess.run(command, check=True, capture_output=True)
    return lnbench.read(folder)


def differences(one: lnbench.RunRecord, other: lnbench.RunRecord) -> tuple[int, int, int]:
    """(cells, cells with any other integer or score, images answered otherwise) of two records."""
    first, second = (
        {(c.mode, c.corruption, c.severity): c for c in record.content.cells} for record in (one, other)
    )
    if first.keys() != second.keys():
        raise SystemExit(f"other cells: {first.keys() ^ second.keys()}")
    cells = sum(
        (a.images, a.scores, a.bins, a.batch_size) != (b.images, b.scores, b.bins, b.batch_size)
        for a, b in ((first[key], second[key]) for key in first)
    )
    assert one.correct is not None and other.correct is not None
    flags = one.correct.flags, other.correct.flags
    images = sum(int((flags[0][key] != flags[1][key]).sum()) for key in flags[0])
    return len(first), cells, images


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="npz:PATH of 32 px images")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="the first images only")
    options = parser.parse_args()
    images, labels = arrays(options.data, options.limit)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "images.npz", images=images, labels=labels)
        record = in_python(images, labels, options.weights)
        told = by_command(Path(folder) / "images.npz", options.weights, Path(folder) / "run")
    cells, other, answers = differences(record, told)
    modes = ", ".join(f"`{mode}`" for mode in MODES)
    limited = f" with `--limit {options.limit}`" if options.limit else ""
    text = f"""\
`python -m benchmarks.api_command`{limited}: ResNet-20 on {len(images)} images of CIFAR-10, `core` at
severities 1, 3, 5, modes {modes}; a module and arrays in Python against the command.

| cells | with another count or score | answers to single images | that differ |
|--:|--:|--:|--:|
| {cells} | {other} | {cells * len(images)} | {answers} |
"""
    print(text)
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
