"""Does a batch fit into memory? Said before it is computed; where nobody named its size, another is taken.

Only modes whose answers depend on their batch are asked: what others take are chunks, of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lnbench.data.store import Store
from lnbench.errors import UsageError
from lnbench.evaluate.footprint import Footprint, footprint
from lnbench.evaluate.plan import Key, size
from lnbench.evaluate.prepare import Subject
from lnbench.memory import freed, held, present

# What a process may hold unasked: a CPU's memory has other users, a GPU's hardly any.
_SHARE = {"cpu": 0.5, "cuda": 0.9}
# Numbers that a pass keeps for each of its input's, without and with gradients: more than networks do, so
# that what is small by this needs no trial.
_AMPLE = {False: 1_000, True: 20_000}


@dataclass(frozen=True)
class Fit:
    """The batch that a run takes: `note` where it is smaller than usual, `warnings` where it may not fit."""

    size: int
    note: str | None = None
    warnings: tuple[str, ...] = ()
    footprints: Mapping[Key, Footprint] = field(default_factory=dict)


def fit(subjects: Sequence[Subject], store: Store, *, said: bool, bound: int | None, processes: int) -> Fit:
    """The size of the batches of all subjects; that of their config where somebody `said` it.

    `bound`: bytes that the `processes` of this machine may hold in all, None for half of a machine's memory,
    or nine tenths of a GPU's. Raises UsageError where a batch that was asked for cannot fit.
    """
    device, wanted = subjects[0].classifier.device, subjects[0].config.batch_size
    whole = present(device) / processes
    room = bound / processes if bound is not None else _SHARE[device.type] * whole
    found = dict(_footprints(subjects, store, room))
    if not found:
        return Fit(wanted)
    before, groups = held(device) - freed(device), max(subject.layers.groups for subject in subjects)

    def most(of: Footprint, limit: float) -> int:
        images = of.fitting(limit - before)
        return images - images % groups

    def takes(key: Key, images: int) -> str:
        subject, mode = subjects[key[0]], key[1]
        gradients = ", with gradients," if _learns(subject, mode) else ""
        pixels = "×".join(map(str, store.images.shape[2:]))
        held_then = size(before + found[key].taken(images))
        return f"a batch of {images} images of {pixels} px in mode {mode}{gradients} takes about {held_then}"

    if said:
        warnings = []
        for key, of in found.items():
            text = f"{takes(key, wanted)} of memory"
            there = room if bound is not None else whole
            fits = most(of, there)
            advice = f"--batch-size {fits} fits" if fits >= groups and fits > 1 else "no batch fits"
            if before + of.of(wanted) > whole:
                raise UsageError(f"--batch-size {wanted}: {text}, and there are {size(whole)}; {advice}")
            if before + of.taken(wanted) > there:
                warnings.append(f"{text}, and there are {size(there)}; {advice}")
        return Fit(wanted, warnings=tuple(warnings), footprints=found)
    chosen = wanted
    worst = max(found, key=lambda key: found[key].taken(wanted))
    while chosen > 2 * groups and before + found[worst].taken(chosen) > room:
        chosen = chosen // 2 - chosen // 2 % groups
    if chosen == wanted:
        return Fit(wanted, footprints=found)
    note = f"batches of {chosen} chosen, not {wanted}: {takes(worst, wanted)}, and {size(room)} are for it"
    return Fit(chosen, note, footprints=found)


def sized(subjects: Sequence[Subject], images: int, note: str | None) -> tuple[Subject, ...]:
    """The subjects with batches of that size, and with the reason among their notes."""
    return tuple(
        replace(
            subject,
            config=subject.config.model_copy(update={"batch_size": images}),
            notes=(*subject.notes, note) if note is not None else subject.notes,
        )
        for subject in subjects
    )


def _footprints(subjects: Sequence[Subject], store: Store, room: float) -> Iterator[tuple[Key, Footprint]]:
    """Those of the modes whose batch may be too large for `room`."""
    height, width = store.images.shape[2:]
    for number, subject in enumerate(subjects):
        for mode in subject.modes:
            numbers = subject.config.batch_size * 3 * height * width * _AMPLE[mode.is_learning]
            if mode.unit == "image" or 4 * numbers <= room:
                continue
            if (found := footprint(subject, mode, store)) is not None:
                yield (number, str(mode)), found


def _learns(subject: Subject, name: str) -> bool:
    return any(str(mode) == name and mode.is_learning for mode in subject.modes)
