"""How long the commands take to start: the least of several runs, by the wall clock.

    python -m benchmarks.start

`lnbench --help` and `list`, `evaluate` on 16 images and two conditions, and in Python `import lnbench` and
the imports that an evaluation needs. Writes benchmarks/results/start.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "start.json"
ROUNDS = 7
TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
RUN = "evaluate --model demo --data demo --limit 16 --corruption contrast --severity 5 --norm fixed"


def main() -> None:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "lnbench --help": "--help",
            "lnbench list corruptions": "list corruptions",
            "lnbench evaluate, 16 images, two conditions": f"{RUN} --fresh --out {folder}/run",
        }
        for _ in range(ROUNDS):
            for name, words in commands.items():
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "lnbench", *words.split()], check=True, capture_output=True
                )
                found.setdefault(name, []).append(time.perf_counter() - started)
            for name in ("lnbench", "lnbench.evaluate.evaluation"):
                told = subprocess.run(
                    [sys.executable, "-c", TIMED.format(name)], check=True, capture_output=True, text=True
                )
                found.setdefault(f"import {name}", []).append(float(told.stdout))
    least = {name: round(min(seconds), 4) for name, seconds in found.items()}
    for name, seconds in least.items():
        print(f"{seconds:8.3f} s  {name}")
    RESULTS.write_text(json.dumps({"rounds": ROUNDS, "seconds": least}, indent=1) + "\n")


if __name__ == "__main__":
    main()
