"""Where runs lie: their folders by name, and the scratch folder of a run's images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from lnbench.config import RunConfig
from lnbench.data.order import SHUFFLED
from lnbench.dist import Processes
from lnbench.evaluate.prepare import Subject
from lnbench.files import lock
from lnbench.norm.modes.registry import parse

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
    try:
        text = config.model_dump_json(exclude={"device"})
    except ValueError:  # a path with bytes that are no UTF-8
        text = json.dumps(config.model_dump(mode="json", exclude={"device"}))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return "-".join([slug(config.preset), stem, *_protocol(config), digest[:8]])


def _protocol(config: RunConfig) -> list[str]:
    """How the images come, where that is not usual or decides an answer: words of the name."""
    usual = {"order": SHUFFLED, "sequence": "reset"}
    words = [
        slug(str(getattr(config, name))) for name, word in usual.items() if getattr(config, name) != word
    ]
    words += ["mixed"] if config.mixed else []
    adapts = any(parse(text).unit == "stream" for text in config.modes)
    return [*words, f"b{config.batch_size}"] if words or adapts else []


def slug(text: str) -> str:
    """A name that is safe as one folder on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "run"


@contextlib.contextmanager
def scratch(out: Path | None, processes: Processes) -> Iterator[Path]:
    """A folder of this run alone, beside its run folder, for images that are too many for memory.

    Locked while the run lasts, then removed; so is what a killed run left there, known by its lock being
    free. No file is removed but what the cache writes, and no folder that holds another.
    """
    base = out or RUNS / "images"
    folder = base.parent / f"{_prefix(base)}{processes.broadcast(secrets.token_hex(8))}"
    if processes.local_rank != 0:
        yield folder
        return
    made = [folder, *(parent for parent in base.parents if not parent.exists())]
    with contextlib.ExitStack() as held:
        # Where nothing can be written, opening the run folder says so.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True)
            held.enter_context(lock(folder / _LOCK))
            _remove_abandoned(base)
        try:
            yield folder
        finally:
            _empty(folder)
            for one in made:
                with contextlib.suppress(OSError):
                    one.rmdir()


_LOCK = ".in-use"


def _prefix(base: Path) -> str:
    return f".{base.name}.images-"


def _remove_abandoned(base: Path) -> None:
    for folder in base.parent.iterdir():
        own = re.fullmatch(re.escape(_prefix(base)) + "[0-9a-f]{16}", folder.name)
        if own is None or folder.is_symlink() or not (folder / _LOCK).is_file():
            continue
        with contextlib.suppress(OSError), lock(folder / _LOCK):
            _empty(folder)
            folder.rmdir()


def _empty(folder: Path) -> None:
    """Remove what the cache writes, and the lock."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if file.name == _LOCK or file.name.removesuffix(".tmp").endswith((".lnstore", ".lock")):
                file.unlink()
