"""Modes of a run that differ in one number alone, and the curves of accuracy along it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lnbench.results.schema import Record
from lnbench.results.scores import corrupted_names, severity_means

FEWEST = 3  # modes in a sweep: two points are a comparison, three a curve

_NUMBER = re.compile(r"(?<=[=a-z])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?=,|$)")


@dataclass(frozen=True)
class Sweep:
    """Modes that differ in one number: `name` has a dot for it, `option` is what it is the number of."""

    name: str
    option: str
    values: tuple[float, ...]
    modes: tuple[str, ...]


def sweeps(modes: Sequence[str]) -> tuple[Sweep, ...]:
    """The sweeps of at least three modes among canonical mode texts, values rising."""
    found: dict[tuple[str, str], dict[float, str]] = defaultdict(dict)
    for mode in modes:
        for match in _NUMBER.finditer(mode):
            name = f"{mode[: match.start()]}·{mode[match.end() :]}"
            option = re.split(r"[:,]", mode[: match.start()])[-1].removesuffix("=")
            found[name, option][float(match[0])] = mode
    return tuple(
        Sweep(name, option, *zip(*sorted(members.items()), strict=True))
        for (name, option), members in found.items()
        if len(members) >= FEWEST
    )


def curves(record: Record, sweep: Sweep) -> dict[str, tuple[float | None, ...]]:
    """Top-1 along a sweep: figure (clean, mean, then each corruption) → a fraction for each value."""
    summaries = [record.summary[mode] for mode in sweep.modes]
    means = [severity_means([cell for cell in record.cells if cell.mode == mode]) for mode in sweep.modes]
    corruptions = corrupted_names(record.suite.conditions)
    return {
        "clean": tuple(summary.clean_top1 for summary in summaries),
        "mean": tuple(summary.mean_corruption_top1 for summary in summaries),
        **{name: tuple(mean.get(name) for mean in means) for name in corruptions},
    }
