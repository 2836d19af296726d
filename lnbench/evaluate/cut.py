"""Where the rounds of a run end, and which runs can be cut into rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lnbench.config import RunConfig
from lnbench.data.order import SHUFFLED
from lnbench.errors import UsageError
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.stream import chunk_size
from lnbench.norm.modes.registry import parse

_FIRST = 500  # images of the first round, at least
_GROWTH = 4  # a round is a quarter of what was counted before it


def check(config: RunConfig) -> None:
    """UsageError where a run of this config cannot be cut into rounds, with the reason."""
    streams = [str(mode) for mode in map(parse, config.modes) if mode.unit == "stream"]
    if streams:
        raise UsageError(
            f"--rounds, --until and --against: {streams[0]} learns along the stream, so that a part of its "
            "images says nothing of the others; evaluate it whole"
        )
    own = [str(mode) for mode in map(parse, config.modes) if mode.size is not None]
    if own:
        raise UsageError(
            f"--rounds, --until and --against: {own[0]} has batches of its own, and a round holds whole "
            "batches of one size; use --batch-size"
        )
    for name, wrong in (
        ("--order " + config.order, config.order != SHUFFLED),
        ("--mixed", config.mixed),
        ("--shard", config.shard is not None),
        ("--shift", bool(config.shifts)),
    ):
        if wrong:
            raise UsageError(
                f"--rounds, --until and --against do not go with {name}: a round is a random sample of the "
                "images, the same under every condition"
            )


def ends(images: int, unit: int) -> list[int]:
    """Where the rounds of a set end: multiples of `unit`, each round a quarter of what came before it."""
    found: list[int] = []
    while not found or found[-1] < images:
        last = found[-1] if found else 0
        step = max(_FIRST - last, last // _GROWTH, unit)
        found.append(min(images, last + -(-step // unit) * unit))
    return found


def unit_of(subjects: Sequence[Subject], images: Images) -> int:
    """The images that chunks and batches both divide. UsageError where a round of them would be all."""
    config, store = subjects[0].config, images.clean
    units = {mode.unit for subject in subjects for mode in subject.modes}
    chunk = chunk_size(subjects[0].classifier.device, *store.images.shape[2:])
    sizes = ([chunk] if "image" in units else []) + ([config.batch_size] if "batch" in units else [])
    found, total = math.lcm(*sizes), len(store.labels)
    # A set that is no larger than a first round is one, whatever it holds.
    if len(sizes) > 1 and found > max(total // 4, _FIRST) and found > max(sizes) and total > _FIRST:
        raise UsageError(
            f"a round must hold whole batches of {config.batch_size} and whole chunks of {chunk} images, so "
            f"{found} at least, of {total}: use --batch-size {_fitting(config.batch_size, chunk)}"
        )
    return found


def _fitting(size: int, chunk: int) -> int:
    """The batch size nearest to one asked for that chunks divide, or that divides them."""
    near = [n for n in range(1, 2 * size + 1) if n % chunk == 0 or chunk % n == 0]
    return min(near, key=lambda n: abs(n - size))
