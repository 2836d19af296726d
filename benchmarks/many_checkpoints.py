"""Five checkpoints in one run against five runs: decoding and corruption are shared.

    python -m benchmarks.many_checkpoints --model cifar:resnet20 --data npz:D --weights W -o FILE

Both sides start from nothing in a process that has imported everything, in turn; times are CPU seconds of
one thread, so that a busy machine does not decide. The checkpoints are copies of one file: their content
does not matter here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import torch

from lnbench import config
from lnbench.evaluate import evaluation
from lnbench.memory import keep_freed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("--model", "--data", "--weights"):
        parser.add_argument(name, required=True)
    parser.add_argument("--preset", default="cifar10-c")
    parser.add_argument("--norm", action="append", default=[])
    parser.add_argument("--severity", type=float, action="append", default=[])
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/many_checkpoints.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = [root / f"{number}.pth" for number in range(given.count)]
        for file in files:
            shutil.copy(given.weights, file)
        runs = [_resolved(given, file) for file in files]
        evaluation.prepare_all(runs[:1])  # warm
        together = _seconds(runs, root / "together")
        apart = sum(_seconds([run], root / f"apart{number}") for number, run in enumerate(runs))
        found = {
            "model": given.model,
            "checkpoints": given.count,
            "modes": list(runs[0].modes),
            "conditions": len(runs[0].conditions),
            "one_run_cpu_seconds": round(together, 1),
            "separate_runs_cpu_seconds": round(apart, 1),
            "ratio": round(apart / together, 2),
        }
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _resolved(given: argparse.Namespace, weights: Path) -> config.RunConfig:
    return config.resolve(
        config.load_preset(given.preset),
        {
            "model": given.model,
            "weights": str(weights),
            "data": given.data,
            "limit": given.limit,
            "modes": given.norm or ["fixed"],
            "severities": given.severity or None,
        },
    )


def _seconds(runs: list[config.RunConfig], out: Path) -> float:
    begin = time.process_time()
    ready = evaluation.prepare_all(runs)
    evaluation.evaluate(ready, [out / str(number) for number in range(len(runs))])
    return time.process_time() - begin


if __name__ == "__main__":
    main()
