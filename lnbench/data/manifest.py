"""The note an export leaves beside its images: what it is, and which conditions are complete."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lnbench.errors import DataError
from lnbench.files import atomic, read_bytes
from lnbench.types import Condition

MANIFEST = "lnbench-export.json"
_SCHEMA = 1
_MOST_BYTES = 1 << 24  # a thousand classes and conditions take some 50 kB


@dataclass(frozen=True)
class Manifest:
    """`layout`: "imagenet-c" or "cifar-c"; `identity`: everything two parts of one set must agree in;
    `finished`: names of the complete conditions ("contrast/3").
    """

    layout: str
    identity: Mapping[str, str]
    classes: tuple[str, ...]
    finished: frozenset[str] = frozenset()

    def has(self, condition: Condition) -> bool:
        """Whether a condition was written to its end."""
        return str(condition) in self.finished


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, None where there is none; DataError where it cannot be understood."""
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    try:
        found = json.loads(read_bytes(path, DataError, most=_MOST_BYTES))
        if found["schema"] != _SCHEMA:
            raise DataError(f"{path}: schema {found['schema']!r} is not known to this version")
        layout, identity, classes, finished = (
            found[k] for k in ("layout", "identity", "classes", "finished")
        )
        texts = [layout, *identity.keys(), *identity.values(), *classes, *finished]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("not text")
        return Manifest(layout, identity, tuple(classes), frozenset(finished))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: damaged; remove the folder and export again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all. Raises DataError."""
    content = {
        "schema": _SCHEMA,
        "layout": manifest.layout,
        "identity": dict(manifest.identity),
        "classes": list(manifest.classes),
        "finished": sorted(manifest.finished),
    }
    with atomic(folder / MANIFEST, DataError) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
