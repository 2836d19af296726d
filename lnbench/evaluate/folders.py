"""Where runs lie: their folders by name, and the scratch folder of a run's images."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lnbench.config import RunConfig
from lnbench.dist import Processes
from lnbench.evaluate.prepare import Subject

RUNS = Path("runs")


def run_folders(subjects: Sequence[Subject], out: Path | None) -> list[Path]:
    """Where each subject's record goes: `out` itself for one, a folder in it for each of several."""
    if len(subjects) == 1:
        return [out or RUNS / run_name(subjects[0].config)]
    names = [run_name(s.config) if out is None else slug(s.name) for s in subjects]
    doubled = {name for name in names if names.count(name) > 1}
    return [(out or RUNS) / (f"{name}-{i}" if name in doubled else name) for i, name in enumerate(names, 1)]


def run_name(config: RunConfig) -> str:
    """Predictable and distinct: the same options lead to the same folder, others to another."""
    stem = slug(Path(config.weights).stem if config.weights else config.model)
    digest = hashlib.sha256(config.model_dump_json(exclude={"device"}).encode()).hexdigest()
    return f"{slug(config.preset)}-{stem}-{digest[:8]}"


def slug(text: str) -> str:
    """A name that is safe as one folder on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "run"


@contextlib.contextmanager
def scratch(out: Path | None, processes: Processes) -> Iterator[Path]:
    """A folder beside the run's, made when needed, for images that are too many for memory; then removed."""
    base = out or RUNS / "images"
    folder = base.parent / f".{base.name}.images"
    try:
        yield folder
    finally:
        if processes.local_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
