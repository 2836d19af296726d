"""What `--precision bf16` changes: accuracy cell by cell against fp32, on the published CIFAR-10 checkpoints.

python -m benchmarks.precision --shared ../shared
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnbench import config
from lnbench.evaluate import evaluation, loop

NETWORKS = {
    "cifar:resnet20": ("cifar10_resnet20-12fca82f.th", ("fixed", "batch", "local")),
    "cifar:resnet56": ("cifar10_resnet56-4bfd9763.th", ("fixed",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with checkpoints/ and data/")
    parser.add_argument("--preset", default="core")
    parser.add_argument("--severity", type=float, action="append", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/precision.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found: list[dict[str, Any]] = []
    for model, (file, modes) in NETWORKS.items():
        flags = {precision: _flags(given, model, file, modes, precision) for precision in ("fp32", "bf16")}
        for key, full in flags["fp32"].items():
            half = flags["bf16"][key]
            found.append(
                {
                    "model": model,
                    "mode": key[0],
                    "condition": key[1],
                    "fp32": round(float(full.mean()), 4),
                    "bf16": round(float(half.mean()), 4),
                    "images_that_changed": int((full != half).sum()),
                }
            )
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    for model in NETWORKS:
        for mode in dict.fromkeys(row["mode"] for row in found if row["model"] == model):
            rows = [row for row in found if row["model"] == model and row["mode"] == mode]
            points = np.array([100 * (row["bf16"] - row["fp32"]) for row in rows])
            changed = np.mean([row["images_that_changed"] for row in rows])
            print(
                f"| {model} | {mode} | {len(rows)} | {points.mean():+.2f} | {points.min():+.2f} | "
                f"{points.max():+.2f} | {100 * changed / 846:.2f} % |"
            )


def _flags(
    given: argparse.Namespace, model: str, file: str, modes: tuple[str, ...], precision: str
) -> dict[tuple[str, str], np.ndarray]:
    run = config.resolve(
        config.load_preset(given.preset),
        {
            "model": model,
            "weights": str(given.shared / "checkpoints" / file),
            "data": f"npz:{given.shared / 'data' / 'cifar10_test_846.npz'}",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "modes": modes,
            "severities": given.severity or None,
            "precision": precision,
        },
    )
    ready = evaluation.prepare_all([run])
    cells: dict[tuple[str, str], np.ndarray] = {}
    for condition, results in loop.run(ready.subjects, ready.images, lambda s, m, c: False):
        for _, found in results:
            cells |= {(str(cell.mode), str(condition)): cell.correct for cell in found}
        print(model, precision, condition, flush=True)
    return cells


if __name__ == "__main__":
    main()
