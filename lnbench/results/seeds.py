"""Runs under several seeds against each other: the seed is the unit, since images of one stream are not."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lnbench.errors import RecordError
from lnbench.results.compare import Change, Changes, Comparison, changes_of, decide, level_of
from lnbench.results.draws import p_value, quantile
from lnbench.results.pairing import find_mismatches, find_missing
from lnbench.results.reading import RESULTS, RUN, read
from lnbench.results.rules import Rule
from lnbench.results.schema import Record

_NAME = re.compile(r"seed-(\d{1,19})")


def folder_name(seed: int) -> str:
    """The folder of one seed's run."""
    return f"seed-{seed}"


def find_seeds(path: Path) -> list[Path]:
    """The runs `seed-0`, `seed-1`, … in a folder that is no run itself; empty where there are none."""
    if not path.is_dir() or (path / RESULTS).exists() or (path / RUN).exists():
        return []
    found = {int(match[1]): one for one in path.iterdir() if (match := _NAME.fullmatch(one.name))}
    return [found[seed] for seed in sorted(found)]


def compare_seeds(
    base: Sequence[Path],
    new: Sequence[Path],
    *,
    rules: Sequence[Rule] = (),
    significance: float | None = None,
    allow_mismatch: bool = False,
) -> Comparison:
    """Compare runs seed by seed: figures are means over the seeds, tests are over their differences.

    The test is Student's t on the paired differences, so two seeds can do little and one nothing. Rules and
    failures are those of `compare`. RecordError where the seeds are not the same or two runs do not pair.
    """
    level = level_of(significance, rules)
    old, now = ({record.suite.seed: record for record in map(read, paths)} for paths in (base, new))
    if set(old) != set(now) or len(old) < 2 or len(old) != len(base) or len(now) != len(new):
        raise RecordError(
            f"seeds {_listed(old)} and {_listed(now)} cannot be paired: give two folders of runs under the "
            "same two seeds or more, as evaluate --seeds makes them"
        )
    if early := [str(seed) for seed in sorted(old) if old[seed].rounds or now[seed].rounds]:
        raise RecordError(
            f"the runs of seed {', '.join(early)} ended early, each on images of its own: finish them, or "
            "compare them seed by seed"
        )
    pairs = [(old[seed], now[seed]) for seed in sorted(old)]
    mismatches = list(dict.fromkeys(text for pair in pairs for text in find_mismatches(*pair)))
    if mismatches and not allow_mismatch:
        raise RecordError(
            f"these runs cannot be compared: {'; '.join(mismatches)}; --allow-mismatch compares what pairs"
        )
    missing = list(dict.fromkeys(name for pair in pairs for name in find_missing(*pair)))
    changes = Changes(*map(_over_seeds, zip(*(changes_of(*pair, None) for pair in pairs), strict=True)))
    needs_test = significance is not None or not rules
    return decide(*pairs[0], changes, rules, level, needs_test, mismatches, missing, len(pairs))


def _listed(records: dict[int, Record]) -> str:
    return ", ".join(map(str, sorted(records))) or "none"


def _over_seeds(lists: Sequence[Sequence[Change]]) -> list[Change]:
    """Each figure that all seeds have: its means, and a test over its differences."""
    found: dict[tuple[str, object, str], list[Change]] = {}
    for changes in lists:
        for change in changes:
            found.setdefault((change.mode, change.condition, change.figure), []).append(change)
    return [_tested(one) for one in found.values() if len(one) == len(lists)]


def _tested(changes: Sequence[Change]) -> Change:
    count = len(changes)
    base = math.fsum(change.base for change in changes) / count
    new = math.fsum(change.new for change in changes) / count
    mean = replace(changes[0], base=base, new=new)
    differences = [change.difference for change in changes]
    if not all(map(math.isfinite, differences)):
        return mean
    error = statistics.stdev(differences) / math.sqrt(count)
    error = error if error > 1e-12 else 0.0  # the same everywhere but for rounding
    half = quantile(count - 1) * error
    p = p_value(mean.difference if abs(mean.difference) > 1e-12 else 0.0, error, count)
    return replace(mean, p=p, interval=(mean.difference - half, mean.difference + half))
