"""Kill -9 of any process of a run at any time, many times: nothing finished is lost, no cell counted twice.

    python -m benchmarks.faults --trials 50

The short form is tests/test_faults.py. A trial starts a run of one to three processes, kills one of them at
a random call (of counting, adding up or writing), checks how the others end, and goes on with the same
command and another number of processes until the run is complete; its cells must equal those of an
undisturbed run, and every line that was on disk at the kill must still be there.

    python -m benchmarks.faults --streams --trials 3 -o benchmarks/results/faults_streams.json

does the same with the modes that adapt, along one stream through all conditions, for each protocol and trial:
a run of one process or two is killed again and again at random, ten times in all; one that was over before
its kill must be equal to the undisturbed run, and another one is begun.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.evaluate.test_streams import SEQUENCES
from tests.networks import write_task
from tests.processes import Fault, run_world
from tests.test_faults import CALLS, OPTIONS, cells, finished

KILLS = 10
STREAM_CALLS = 130  # a process of such a run makes about so many calls that can be its last
STREAM_MODES = (
    "fixed", "batch", "ema", "tent:lr=0.01,optimizer=adam", "eta:lr=0.01,margin=0.9,d=0.9,reset=4",
    "eata:lr=0.01,margin=0.9,d=0.9,fisher=30,alpha=10", "sar:lr=0.01,margin=0.9",
)  # fmt: skip
STREAM_OPTIONS = [
    "--corruption", "gaussian_noise", "--corruption", "contrast", "--severity", 5, "--batch-size", 20,
    *(word for mode in STREAM_MODES for word in ("--norm", mode)),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/faults.json"))
    given = parser.parse_args()
    if given.streams:
        found = {"trials": given.trials, "seed": given.seed, "kills": KILLS, "modes": STREAM_MODES}
        found |= {name: _streams(name, given.trials, given.seed) for name in SEQUENCES}
        given.output.write_text(json.dumps(found, indent=1) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, weights, data = write_task(root, images=110)
        command = ["evaluate", "--model", model, "--weights", weights, "--data", data, *OPTIONS, "--out"]
        (ended,) = run_world(1, [*command, root / "whole"], root / "said")
        assert ended.code == 0, ended.err
        outcomes: Counter[str] = Counter()
        for trial in range(given.trials):
            outcomes[_trial(given.seed * 1000 + trial, command, root)] += 1
            print(f"trial {trial + 1}: {dict(outcomes)}", flush=True)
    found = {"trials": given.trials, "seed": given.seed, "outcomes": dict(sorted(outcomes.items()))}
    given.output.write_text(json.dumps(found, indent=1) + "\n")


def _streams(protocol: str, trials: int, seed: int) -> list[dict[str, Any]]:
    """What became of each trial: where it was killed, and that it ended with the same figures."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, weights, data = write_task(root, images=130)
        command = ["evaluate", "--model", model, "--weights", weights, "--data", data, *STREAM_OPTIONS,
                   *SEQUENCES[protocol], "--out"]  # fmt: skip
        (ended,) = run_world(1, [*command, root / "whole"], root / "said")
        assert ended.code == 0, ended.err
        for trial in range(trials):
            chance = random.Random(seed * 1000 + trial)
            runs, kills = [root / f"run{trial}-0"], list[str]()
            kept: list[str] = []
            while len(kills) < KILLS:
                world = chance.choice([1, 2])
                fault = Fault(rank=chance.randrange(world), call=1 + chance.randrange(STREAM_CALLS // world))
                codes = [one.code for one in run_world(
                    world, [*command, runs[-1]], root / "said", fault=fault, patience=600, timeout=300,
                )]  # fmt: skip
                lines = [line for line in finished(runs[-1]) if line.endswith("\n")]
                assert lines[: len(kept)] == kept, "a finished cell was lost"
                kept = lines
                if codes[fault.rank] == 0:
                    runs.append(root / f"run{trial}-{len(runs)}")
                    kept = []
                    continue
                assert codes[fault.rank] == -9, codes
                kills.append(
                    f"process {fault.rank + 1} of {world}, call {fault.call}, {len(kept)} cells on disk"
                )
            (ended,) = run_world(1, [*command, runs[-1]], root / "said", patience=600)
            assert ended.code == 0, ended.err
            for out in runs:
                assert cells(out) == cells(root / "whole"), "the figures differ"
                whole, own = ((path / "correct.npz").read_bytes() for path in (root / "whole", out))
                assert whole == own, "the bits differ"
            outcomes.append({"kills": kills, "runs": len(runs), "equal": True})
            print(f"{protocol}, trial {trial + 1}: {outcomes[-1]}", flush=True)
    return outcomes


def _trial(seed: int, command: list[object], root: Path) -> str:
    chance = random.Random(seed)
    world = chance.choice([1, 2, 3])
    fault = Fault(rank=chance.randrange(world), call=1 + chance.randrange(CALLS // world))
    out, said = root / f"run{seed}", root / "said"
    ended = run_world(world, [*command, out], said, fault=fault, patience=600, timeout=300)
    codes = [process.code for process in ended]
    if codes == [0] * world:
        return "over before the kill"
    assert codes.pop(fault.rank) == -9 and set(codes) <= {3}, ended
    lines = [line for process in ended for line in process.err.splitlines() if "lnbench: " in line]
    assert len(lines) == (world > 1), ended
    kept = [line for line in finished(out) if line.endswith("\n")]
    again = run_world(chance.choice([1, 2, 3]), [*command, out], said, patience=600, timeout=300)
    assert {process.code for process in again} == {0}, again
    names = [(c["mode"], c["corruption"], c["severity"]) for c in map(json.loads, finished(out))]
    assert len(names) == len(set(names)), "a cell was counted twice"
    assert finished(out)[: len(kept)] == kept, "a finished cell was lost"
    assert cells(out) == cells(root / "whole"), "the figures differ"
    return f"killed with {len(kept)} of 9 cells on disk, then equal to the undisturbed run"


if __name__ == "__main__":
    main()
