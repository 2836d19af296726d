"""Kill -9 of any process of a run at any time, many times: nothing finished is lost, no cell counted twice.

    python -m benchmarks.faults --trials 50

The short form is tests/test_faults.py. A trial starts a run of one to three processes, kills one of them at
a random call (of counting, adding up or writing), checks how the others end, and goes on with the same
command and another number of processes until the run is complete; its cells must equal those of an
undisturbed run, and every line that was on disk at the kill must still be there.

    python -m benchmarks.faults --streams --trials 3 -o benchmarks/results/faults_streams.json

does the same with modes that adapt along one stream through all conditions, once for each protocol and trial,
each run being killed ten times one after another before it is let finish.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from pathlib import Path

from tests.evaluate.test_streams import CALLS as STREAM_CALLS
from tests.evaluate.test_streams import MODES, SEQUENCES
from tests.evaluate.test_streams import OPTIONS as STREAM_OPTIONS
from tests.networks import write_task
from tests.processes import Fault, run_world
from tests.test_faults import CALLS, OPTIONS, cells, finished

KILLS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/faults.json"))
    given = parser.parse_args()
    if given.streams:
        found = {"trials": given.trials, "seed": given.seed, "kills": KILLS}
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


def _streams(protocol: str, trials: int, seed: int) -> list[str]:
    """What became of each trial: a run killed ten times in a row, then finished."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, weights, data = write_task(root, images=130)
        command = ["evaluate", "--model", model, "--weights", weights, "--data", data, *STREAM_OPTIONS,
                   *SEQUENCES[protocol], "--out"]  # fmt: skip
        (ended,) = run_world(1, [*command, root / "whole"], root / "said", plugin=MODES)
        assert ended.code == 0, ended.err
        for trial in range(trials):
            chance = random.Random(seed * 1000 + trial)
            out, kills, kept = root / f"run{trial}", 0, list[str]()
            while kills < KILLS:
                world = chance.choice([1, 2])
                fault = Fault(rank=chance.randrange(world), call=1 + chance.randrange(STREAM_CALLS // world))
                ended_ = run_world(world, [*command, out], root / "said", plugin=MODES, fault=fault,
                                   patience=600, timeout=300)  # fmt: skip
                lines = [line for line in finished(out) if line.endswith("\n")]
                assert lines[: len(kept)] == kept, "a finished cell was lost"
                kept = lines
                if ended_[fault.rank].code == 0:
                    break
                assert ended_[fault.rank].code == -9, ended_
                kills += 1
            (ended,) = run_world(1, [*command, out], root / "said", plugin=MODES, patience=600)
            assert ended.code == 0, ended.err
            assert cells(out) == cells(root / "whole"), "the figures differ"
            whole, own = ((path / "correct.npz").read_bytes() for path in (root / "whole", out))
            assert whole == own, "the bits differ"
            outcomes.append(f"killed {kills} times, then equal to the undisturbed run")
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
