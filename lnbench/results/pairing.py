"""Which cells of two runs belong together, and how the runs differ in what must be equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lnbench.results import header
from lnbench.results.correct import Correct
from lnbench.results.protocol import protocol
from lnbench.results.schema import Cell, Record
from lnbench.types import Condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = tuple[str, Condition]
Pairs = Mapping[Key, tuple[Cell, Cell]]


def find_mismatches(base: Record, new: Record) -> list[str]:
    """How two runs differ in what decides whether their cells mean the same, each in a few words."""
    found = []
    if base.data.fingerprint != new.data.fingerprint:
        hashes = " and ".join(record.data.fingerprint[:12] for record in (base, new))
        found.append(f"different data ({hashes}{_sizes(base, new)})")
    if base.data.class_map != new.data.class_map:
        found.append("different class maps (other outputs answer for the labels)")
    found += [f"different data of shift {name}" for name in _other_shifts(base, new)]
    old, now = base.suite.version, new.suite.version
    if base.suite.preset == new.suite.preset and None not in (old, now) and old != now:
        found.append(f"different versions of {base.suite.preset} ({old} and {now})")
    for name in ("seed", "generator", "table", "backend", "overrides"):
        old, now = getattr(base.suite, name), getattr(new.suite, name)
        if old != now:
            found.append(f"different {name} ({old} and {now})" if name != "overrides" else
                         "different corruption parameters")  # fmt: skip
    for what, old_set, new_set in (
        ("mode", set(base.suite.modes), set(new.suite.modes)),
        ("condition", _condition_names(base), _condition_names(new)),
    ):
        found += [f"{what} {name} only in the first" for name in sorted(old_set - new_set)[:3]]
        found += [f"{what} {name} only in the second" for name in sorted(new_set - old_set)[:3]]
        if len(old_set ^ new_set) > 6:
            found.append(f"{len(old_set ^ new_set)} {what}s in only one of them")
    changed = dict.fromkeys(
        f"different images of {old.condition} ({old.fingerprint[:12]} and {now.fingerprint[:12]})"
        for old, now in pair(base, new).values()
        if old.fingerprint and now.fingerprint and old.fingerprint != now.fingerprint
    )
    found += [*changed][:3] if base.data.fingerprint == new.data.fingerprint else []
    sizes = {
        f"batch size of {old.mode} ({old.batch_size} and {now.batch_size})"
        for old, now in pair(base, new).values()
        if old.batch_size != now.batch_size
    }
    return found + [f"different {text}" for text in sorted(sizes)] + _protocol_mismatches(base, new)


def _protocol_mismatches(base: Record, new: Record) -> list[str]:
    """Where cells of both runs depend on how the images came, and these came otherwise."""
    if not any(cell.batch_size is not None for pair_ in pair(base, new).values() for cell in pair_):
        return []
    old, now = protocol(base), protocol(new)
    return [f"different {name} ({old[name]} and {now[name]})" for name in old if old[name] != now[name]]


def find_changes(base: Record, new: Record) -> list[str]:
    """How the networks differ in what no name and no file's hash shows: often the point of comparing."""
    found = []
    for name, what in (("code", "the code of the model"), ("state", "the network as it was built")):
        old, now = getattr(base.model, name), getattr(new.model, name)
        if old is not None and now is not None and old != now:
            found.append(f"{what} differs between the runs ({old[:12]} and {now[:12]})")
    return found


def _sizes(base: Record, new: Record) -> str:
    """How the images were brought to size, where that differs: the same images are then other data."""
    old, now = (
        ", ".join(f"{name} {value}" for name, value in header.rows(record) if name in ("resize", "crop"))
        for record in (base, new)
    )
    return f"; {old} and {now}" if old != now and old and now else ""


def _condition_names(record: Record) -> set[str]:
    return {str(Condition(*condition)) for condition in record.suite.conditions}


def pair(base: Record, new: Record) -> Pairs:
    """The cells both runs have, in the order of the first."""
    found = {cell.key: cell for cell in new.cells}
    return {cell.key: (cell, found[cell.key]) for cell in base.cells if cell.key in found}


def find_missing(base: Record, new: Record) -> list[str]:
    """Cells that either run was to have and that are not in both; not those that a run is yet to have."""
    paired = pair(base, new)
    expected = dict.fromkeys([*base.suite.keys, *new.suite.keys])
    pending = {
        key for run in (base, new) if run.unfinished for key in {*run.suite.keys} - {c.key for c in run.cells}
    }
    missing = [key for key in expected if key not in paired and key not in pending]
    return [f"{mode}/{condition}" for mode, condition in missing]


@dataclass(frozen=True)
class Evidence:
    """Correctness of each paired cell in both runs, bool (N,) each, image by image.

    `apart`: the cells whose images are not those of the others, so that they pair with no other condition.
    """

    flags: Mapping[Key, tuple[NDArray[np.bool_], NDArray[np.bool_]]]
    apart: frozenset[Key] = frozenset()


def _other_shifts(base: Record, new: Record) -> list[str]:
    """Names under which the runs have other sets."""
    both = sorted(base.shifts.keys() & new.shifts.keys())
    return [name for name in both if base.shifts[name].fingerprint != new.shifts[name].fingerprint]


def find_evidence(base: Record, new: Record, old: Correct | None, now: Correct | None) -> Evidence | None:
    """The paired bits, or None where the images are not the same or bits are not there."""
    if old is None or now is None or base.data.fingerprint != new.data.fingerprint:
        return None
    if _other_shifts(base, new):
        return None
    flags = {}
    for key in pair(base, new):
        if key not in old.flags or key not in now.flags:
            return None
        before, after = old.flags[key], now.flags[key]
        if key in old.own or key in now.own:
            first, second = old.own.get(key, old.ids), now.own.get(key, now.ids)
            if first is None or second is None:
                return None
            import numpy as np

            # Both in the order of the ids, so that what is left of both is the same images in the same order.
            before, after = before[np.isin(first, second)], after[np.isin(second, first)]
        if len(before) != len(after):
            return None
        flags[key] = (before, after)
    return Evidence(flags, frozenset(old.own) | frozenset(now.own))
