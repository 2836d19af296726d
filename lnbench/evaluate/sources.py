"""Data that a mode looks at before the first batch, where it is not the run's own (`eata:source=…`).

As many of its images as the mode asks for are decoded, as the run's are: a class-balanced subset drawn with
the run's seed. Its labels balance that subset and serve for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import JsonValue

from lnbench.data import loading, specs
from lnbench.data.store import Decoding, Store
from lnbench.errors import DataError, UsageError
from lnbench.evaluate.prepare import Images, Subject, as_asked
from lnbench.norm.modes.registry import Mode


def open_sources(subjects: Sequence[Subject], decoding: Decoding, images: Images) -> Images:
    """Decode what the modes of all subjects ask for. Raises DataError, UsageError."""
    decoding = as_asked(decoding, subjects[0].config)
    found: dict[tuple[str, int], Store] = {}
    for mode in dict.fromkeys(mode for subject in subjects for mode in subject.modes):
        if mode.source is not None and (mode.source, mode.images) not in found:
            found[mode.source, mode.images] = _opened(mode, mode.source, decoding, images)
    return replace(images, sources=found)


def _opened(mode: Mode, source: str, decoding: Decoding, images: Images) -> Store:
    where = f"mode '{mode}'"
    spec = specs.parse(source)
    if spec.precomputed:
        raise UsageError(f"{where}: {spec} is a corrupted set; source= takes images without corruption")
    store = loading.open_store(spec, replace(decoding, limit=mode.images))
    if len(store.labels) < mode.images:
        raise UsageError(f"{where}: {spec} has only {len(store.labels)} images; ask for fewer")
    ours, theirs = images.clean.images.shape[2:], store.images.shape[2:]
    if ours != theirs:
        raise DataError(
            f"{where}: {spec} has images of {theirs[0]}×{theirs[1]} px, the run's have {ours[0]}×{ours[1]}; "
            "give --resize and --crop"
        )
    return store


def recorded(subject: Subject, images: Images) -> dict[str, JsonValue]:
    """Which images they were, by mode, for the record's config; nothing where all are the run's own."""
    found: dict[str, JsonValue] = {}
    for mode in subject.modes:
        if mode.source is not None:
            store = images.sources[mode.source, mode.images]
            found[str(mode)] = {
                "source": store.source,
                "images": len(store.labels),
                "fingerprint": store.fingerprint,
            }
    return {"sources": found} if found else {}


def notes(subject: Subject, images: Images) -> Iterator[str]:
    """One sentence for each mode that looked at other data."""
    for mode in subject.modes:
        if mode.source is not None:
            store = images.sources[mode.source, mode.images]
            yield f"mode {mode}: looked at {len(store.labels)} of {store.total} images of {store.source}"
