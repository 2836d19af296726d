"""Options that several commands share: one name, one meaning, one text.

Where one command can do without an option and another cannot, each says its type: `Seed[int | None]`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from lnbench.cli import complete

T = TypeVar("T")

# What the help shows together, in the order of the commands' parameters.
SUITE = partial(typer.Option, rich_help_panel="Corruptions")
NETWORK = partial(typer.Option, rich_help_panel="Network")
IMAGES = partial(typer.Option, rich_help_panel="Images")
LABELS = partial(typer.Option, rich_help_panel="Labels")
INPUT = partial(typer.Option, rich_help_panel="What the network sees")
MODES = partial(typer.Option, rich_help_panel="Modes and streams")
MACHINE = partial(typer.Option, rich_help_panel="Machine")
PACE = partial(typer.Option, rich_help_panel="Figures early")
FOLDER = partial(typer.Option, rich_help_panel="The run")

SIDES = "Shorter side, or HEIGHTxWIDTH, in pixels."
BACKEND = "native, or reference (the imagecorruptions package)."
_MODEL = (
    "Network: torchvision:resnet50, timm:NAME, hf-hub:ORG/NAME, cifar:resnet20, FILE.py:FACTORY, "
    "PACKAGE.MODULE:FACTORY, demo; a factory may have arguments: 'net.py:build(width=2)'."
)
_CORRUPTION = (
    "Corruption or family (noise, blur, weather, digital, extra), repeatable; the preset's own otherwise."
)
_BATCH = "Images of a batch: what batch modes take together, or one training step over all processes."
_PICKLE = "Run code in the checkpoint file. Only for files you trust."
_PREFIX = "Take the checkpoint's weights below this name alone, such as net. of a wrapped network."
_PLUGIN = "Python file to run first: corruptions, modes, metrics, data of yours. Only files you trust."
_SKIP = "Leave out images that cannot be read, and count them."

Preset = Annotated[
    str,
    SUITE(metavar="NAME", help="Corruption suite: a name or a YAML file.", autocompletion=complete.presets),
]
Corruption = Annotated[
    list[str] | None, SUITE(metavar="NAME", help=_CORRUPTION, autocompletion=complete.corruptions)
]
Severity = Annotated[list[float] | None, SUITE(metavar="S", help="Severity 1–5, repeatable.")]
Backend = Annotated[T, SUITE(metavar="native|reference", help=BACKEND)]

Model = Annotated[T, NETWORK(metavar="SPEC", help=_MODEL, autocompletion=complete.models)]
Ema = Annotated[bool, NETWORK("--ema", help="Use the checkpoint's averaged (EMA) weights.")]
Prefix = Annotated[str | None, NETWORK(metavar="NAME.", help=_PREFIX)]
AllowPickle = Annotated[bool, NETWORK("--allow-pickle", help=_PICKLE)]

Mean = Annotated[
    str | None, INPUT(metavar="R,G,B", help="Input mean r,g,b on the 0–1 scale; the model's otherwise.")
]
Std = Annotated[
    str | None, INPUT(metavar="R,G,B", help="Input standard deviation r,g,b; the model's otherwise.")
]
Resize = Annotated[str | None, INPUT(metavar="SIDE", help=SIDES)]
Crop = Annotated[str | None, INPUT(metavar="SIDE", help="Centre crop, side or HEIGHTxWIDTH, in pixels.")]
Interpolation = Annotated[T, INPUT(metavar="NAME", help="nearest, bilinear, bicubic, lanczos or box.")]

_EXIF = "EXIF orientation of photographs: ignore, as torchvision and timm do, or apply."
Exif = Annotated[str | None, INPUT(metavar="ignore|apply", help=_EXIF)]

_CLASSES = "Outputs of classes that the data lacks: present leaves them out before softmax, all keeps them."
_CLASS_MAP = "YAML, JSON or CSV: which outputs (index, wnid, name) answer for which label."
_CLASSES_FILE = "Names of the network's own classes in the order of its outputs, one a line."
Classes = Annotated[str | None, LABELS(metavar="present|all", help=_CLASSES)]
ClassMap = Annotated[Path | None, LABELS(metavar="FILE", help=_CLASS_MAP)]
ClassesFile = Annotated[Path | None, LABELS(metavar="FILE", help=_CLASSES_FILE)]

Root = Annotated[
    str | None,
    IMAGES(
        metavar="DIR",
        help="Folder of the files that list:FILE names, in --data and --shift; its own otherwise.",
    ),
]
Plugin = Annotated[list[Path] | None, FOLDER(metavar="FILE.py", help=_PLUGIN)]

Limit = Annotated[int | None, IMAGES(metavar="N", help="Use a class-balanced subset of N images.")]
SkipUnreadable = Annotated[bool, IMAGES("--skip-unreadable", help=_SKIP)]
BatchSize = Annotated[T, MODES(metavar="N", help=_BATCH)]
Seed = Annotated[T, MODES(metavar="N", help="Seed of all that is drawn: noise, order, subset, crops.")]
Device = Annotated[str, MACHINE(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")]

# A run's protocol, place and pace.
_ORDER = "How a stream's images come: shuffled, sorted (by class) or dirichlet:delta=0.1 (NOTE's sampler)."
_SEEDS = "Run K times, under seeds from --seed on, into OUT/seed-0, …: `compare` tests over them."
_SEQUENCE = "What stream modes do between conditions: reset, or continual (go on with what they learned)."
_MIXED = "Batches of all corrupted conditions together; still one result for each."
_OUT = "Run folder; runs/PRESET-MODEL-HASH otherwise."
_RESUME = "Go on with what the folder holds, or start over."
_CACHE = "Folder for decoded images, reused by the next run."
_MEMORY = "Keep resident memory below this, such as 4GiB: more images than fit go to a temporary file."
_ROUNDS = "Count every condition on a growing part of the images before the next: figures early, same result."
_UNTIL = (
    "End when clean and mean of every mode are known to ± so many points (95 %, at whatever moment one "
    "looks), or the cells of a pattern: 1.0, 'fixed/fog/*:2'. Repeatable; --rounds goes with it."
)
_AGAINST = (
    "Run or baseline file: end when it is certain that clean and mean are worse than there, or not worse by "
    "more than --margin; exit 1 on worse. --rounds goes with it."
)
MARGIN = "The loss that a comparison bears which goes on until it is decided; 0.5pp otherwise."
_STORE = "Where images lie while counted: auto, device (a GPU's memory), host or file."
_COMPILE = "Compile the network: auto (on a GPU, where it pays), on or off; noted in the record."
_SHARD = "Compute part I of N by itself; `lnbench merge` joins the parts."
_DIAGNOSE = "Record how far each norm layer's inputs shift."
Out = Annotated[Path | None, FOLDER(metavar="DIR", help=_OUT, show_default=False)]
Resume = Annotated[bool, FOLDER("--resume/--fresh", help=_RESUME)]
Cache = Annotated[Path | None, IMAGES(metavar="DIR", help=_CACHE)]
Memory = Annotated[str | None, MACHINE(metavar="SIZE", help=_MEMORY)]
Store = Annotated[str, MACHINE(metavar="auto|device|host|file", help=_STORE)]
Compile = Annotated[str, MACHINE(metavar="auto|on|off", help=_COMPILE)]
Shard = Annotated[str | None, FOLDER(metavar="I/N", help=_SHARD)]
Rounds = Annotated[bool, PACE("--rounds", help=_ROUNDS)]
Until = Annotated[list[str] | None, PACE(metavar="POINTS", help=_UNTIL)]
Against = Annotated[Path | None, PACE(metavar="FILE", help=_AGAINST)]
Margin = Annotated[str | None, PACE(metavar="LOSS", help=MARGIN)]
Diagnose = Annotated[bool, FOLDER("--diagnose", help=_DIAGNOSE)]
Order = Annotated[str | None, MODES(metavar="ORDER", help=_ORDER)]
Seeds = Annotated[int | None, MODES(metavar="K", min=1, max=1000, help=_SEEDS)]
Sequence = Annotated[str | None, MODES(metavar="reset|continual", help=_SEQUENCE)]
Mixed = Annotated[bool, MODES("--mixed", help=_MIXED)]
