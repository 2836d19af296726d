"""The network compiled where that pays: tried on the first images, mode by mode, before anything is counted.

A compiled network adds up in another order and keeps more digits between layers, so its figures are the eager
network's within `TOLERANCE`, and the record says which modes ran so. On a CPU nothing is compiled unasked:
what stands keeps its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lnbench.dist import Processes
from lnbench.errors import unknown
from lnbench.evaluate.count import Stopwatch
from lnbench.evaluate.prepare import Images, Subject
from lnbench.evaluate.stream import Stream
from lnbench.files import said
from lnbench.norm.modes.registry import Mode
from lnbench.norm.state import State
from lnbench.types import CLEAN

Wanted = Literal["auto", "on", "off"]
WANTED: tuple[Wanted, ...] = ("auto", "on", "off")
BACKEND: Any = "inductor"
Network = Callable[[Tensor], Tensor]

# The largest difference of a trial's outputs, of the largest output: some hundred roundings of float32, and
# a few of the 8 and 11 bits of the others.
TOLERANCE = {"fp32": 1e-4, "bf16": 2**-5, "fp16": 2**-8}
# Seconds of eager passes of a mode below which compiling, itself some tens of seconds, is not tried.
_WORTH = 300.0
_FASTER = 0.95  # of the eager time: what a compiled pass must stay below
_REPEATS = 3
_GRAPHS = 256  # of one network: by mode, size of a batch and group; torch's own bound is 8


@dataclass(frozen=True)
class Trial:
    """What compiling did for a mode: seconds of a pass; `apart`, see TOLERANCE; `failed`: why it did not."""

    eager: float
    compiled: float = 0.0
    apart: float = 0.0
    flipped: int = 0
    images: int = 0
    failed: str = ""


def parse(text: str) -> Wanted:
    """What `--compile` asks for. Raises UsageError."""
    found = next((one for one in WANTED if one == text), None)
    if found is None:
        raise unknown("choice of --compile", text, WANTED)
    return found


def pays_on(device: torch.device) -> bool:
    """Whether compiling may pay there at all: on a CPU the convolutions are the time, and stay the same."""
    return device.type == "cuda"


def takes(mode: Mode) -> bool:
    """Whether a mode's passes are all of one kind: nothing is learned, no views, no draws."""
    return (
        mode.unit != "stream" and not mode.is_learning and mode.draws == 1 and not mode.options.get("views")
    )


def settle(
    subjects: tuple[Subject, ...],
    images: Images,
    left: Callable[[Subject, Mode], int],
    wanted: Wanted,
    processes: Processes,
) -> dict[int, list[str]]:
    """Compile each subject's network for the modes in which it pays.

    `left`: images that will still go through it in this process, each as often as it does; the same in all.

    Returns what should be noted in the record of each subject, by its number. With several processes the
    first decides for all.
    """
    for subject in subjects:
        subject.compiled.clear()
    device = subjects[0].classifier.device
    if wanted == "off" or (wanted == "auto" and not pays_on(device)):
        return {}
    notes: dict[int, list[str]] = {}
    for number, subject in enumerate(subjects):
        for mode in filter(takes, subject.modes):
            todo = left(subject, mode)
            if not todo:
                continue
            network = compiled(subject, mode, images)
            trial = None
            if processes.first:
                trial = _tried(subject, mode, images, network, todo, wanted)
            trial = processes.broadcast(trial)
            text = None if trial is None else _verdict(mode, trial, subject.config.precision, wanted)
            if text is not None:
                notes.setdefault(number, []).append(text)
                if not trial.failed:  # type: ignore[union-attr]
                    subject.compiled[str(mode)] = network
    return notes


def compiled(subject: Subject, mode: Mode, images: Images) -> Network:
    """The network compiled for passes of a mode's size; of images that stand alone, fewer are filled up."""
    size = _size(subject, mode, images)
    layout = subject.classifier.format
    network = subject.classifier.network

    # A function, not the network: torch would leave a mark among the attributes of someone's module.
    @torch.compile(dynamic=False, fullgraph=True, backend=BACKEND)
    def inner(x: Tensor) -> Tensor:
        out: Tensor = network(x)
        return out

    def run(x: Tensor) -> Tensor:
        count = len(x)
        if mode.unit == "image" and count < size:
            # Another size would be another graph, and a minute of compiling for one short chunk.
            x = x[torch.arange(size, device=x.device) % count].contiguous(memory_format=layout)
        with torch._dynamo.config.patch(recompile_limit=_GRAPHS):
            return inner(x)[:count]

    return run


def _size(subject: Subject, mode: Mode, images: Images) -> int:
    """Images of the passes of a mode."""
    stream = _stream(subject, images)
    batch = mode.batch_size(subject.config.batch_size)
    return min(stream.chunk if mode.unit == "image" else batch, len(stream.order))


def _stream(subject: Subject, images: Images) -> Stream:
    device, config = subject.classifier.device, subject.config
    return Stream(images.clean, CLEAN, config, device, seed=config.seed, corrupted=True)


@torch.no_grad()
def _tried(
    subject: Subject, mode: Mode, images: Images, network: Network, todo: int, wanted: Wanted
) -> Trial | None:
    """Time and compare both on the first images; None where the passes to come cannot pay for it."""
    stream = _stream(subject, images)
    pixels = stream.pixels(stream.order[: _size(subject, mode, images)])
    state = State()

    def forward(given: Tensor) -> Tensor:
        subject.layers.use(mode, state)
        return subject.classifier.logits(given)

    def drawn(count: int, number: int) -> Tensor:
        return stream.pixels(stream.drawn(count, number))

    try:
        mode.begin(forward, drawn, state)
        usual = forward(pixels)
        eager = _seconds(lambda: forward(pixels), stream.device)
        if wanted == "auto" and eager / len(pixels) * todo < _WORTH:
            return None
        other = subject.classifier.logits(pixels, network)
    except torch.OutOfMemoryError:
        return None  # said where it is counted
    except Exception as error:  # a compiler fails in many ways, and none of them need stop a run
        why = error.__cause__ or error  # the compiler's own words, not those around a person's forward
        return Trial(0.0, failed=f"{type(why).__name__}: {said(why)}")
    taken = _seconds(lambda: subject.classifier.logits(pixels, network), stream.device)
    apart = float((other - usual).abs().max() / usual.abs().max().clamp_min(1e-12))
    return Trial(eager, taken, apart, int((other.argmax(1) != usual.argmax(1)).sum()), len(pixels))


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    taken = []
    for _ in range(_REPEATS):
        watch = Stopwatch(device)
        with watch:
            work()
        taken.append(watch.seconds())
    return float(np.median(taken))


def _verdict(mode: Mode, trial: Trial, precision: str, wanted: Wanted) -> str | None:
    """What the record says of a compiled mode; None where the eager network stays, as anybody expects."""
    if trial.failed:
        return f"{mode}: not compiled, {trial.failed}"
    close = trial.apart <= TOLERANCE[precision]
    if wanted == "auto" and not (close and trial.compiled < _FASTER * trial.eager):
        return None
    beyond = "" if close else f", MORE than the {TOLERANCE[precision]:.2g} to be expected"
    return (
        f"{mode}: network compiled by torch.compile; on {trial.images} images outputs differ from "
        f"the plain network's by {trial.apart:.1e} of the largest{beyond}; {trial.flipped} answers change"
    )
