"""What to convert and how, what the caller wants to hear, and what can be refused from the options alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lnbench.errors import UsageError, unknown
from lnbench.models.load import Preprocessing
from lnbench.models.sniff import SUFFIXES
from lnbench.training.finetune import Report
from lnbench.training.recipe import Recipe

Target = Literal["localnorm", "batchnorm", "adapted"]
Trained = Literal["norm", "all"]


@dataclass(frozen=True)
class Request:
    """What to convert, and how.

    `groups`: K. `layers`: names of the layers to convert or of modules around them, or first3, last3; empty
    for all. `samples`: images whose statistics `calibrate` takes. `distill`: images without labels on which
    the original network teaches the converted one; `trained`: what learns there, weight and bias of the
    converted layers, or every parameter.
    """

    source: Path
    model: str
    to: Target
    output: Path
    groups: int = 8
    layers: tuple[str, ...] = ()
    train_on: str | None = None
    distill: str | None = None
    trained: Trained = "norm"
    recipe: Recipe = field(default_factory=Recipe)
    calibrate: str | None = None
    samples: int = 32
    seed: int = 0
    device: str = "cpu"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    ema: bool = False
    prefix: str = ""
    allow_pickle: bool = False


@dataclass(frozen=True)
class Listener:
    """What the caller wants to hear: lines of the report, training steps, images decoded."""

    say: Callable[[str], None] = lambda line: None
    training: Report = lambda standing: None
    decoding: Callable[[int, int], None] = lambda done, total: None


def check(request: Request) -> None:
    """Refuse what can be seen from the options alone, before anything is loaded."""
    source, output = request.source, request.output
    if request.to not in get_args(Target):
        raise unknown("target of --to", request.to, get_args(Target))
    if request.seed < 0:
        raise UsageError(f"--seed {request.seed}: a seed is a whole number from 0 on")
    if output.suffix not in SUFFIXES:
        raise UsageError(f"-o {output}: weights are written as {', '.join(SUFFIXES)}")
    if output.exists() and source.exists() and source.samefile(output):
        raise UsageError(f"-o {output} is the checkpoint itself: convert never writes over its input")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.parent}")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(f"-o {output}: the folder {output.parent} cannot be written to")
    if request.to == "adapted" and request.calibrate is None:
        raise UsageError("--to adapted needs --calibrate DATA: the images whose statistics it takes")
    if request.to == "adapted" and request.train_on is not None:
        raise UsageError("--to adapted changes statistics only; --finetune goes with localnorm or batchnorm")
    if request.to == "localnorm" and request.calibrate is not None:
        raise UsageError("--calibrate goes with batchnorm or adapted; LocalNorm finds its own statistics")
    if request.layers and request.to != "localnorm":
        raise UsageError("--layers goes with --to localnorm: the other targets change every layer")
    _check_distillation(request)
    if request.groups < 1 or request.samples < 1:
        raise UsageError("--groups and -n take numbers from 1 on")
    batch = request.recipe.batch_size
    if request.train_on is not None and request.to == "localnorm" and request.groups > batch:
        raise UsageError(
            f"--groups {request.groups} is more than the {batch} images of a batch: "
            "use fewer groups or a larger --batch-size"
        )


def _check_distillation(request: Request) -> None:
    if request.trained not in get_args(Trained):
        raise unknown("value of --train", request.trained, get_args(Trained))
    if request.distill is None:
        if request.trained != "norm":
            raise UsageError("--train goes with --distill; --finetune trains every parameter")
        return
    if request.to != "localnorm":
        raise UsageError(f"--distill goes with --to localnorm, not {request.to}: it teaches single images")
    if request.train_on is not None:
        raise UsageError("--distill learns from the original network, --finetune from labels: give one")
    if request.groups != 1 or request.recipe.group_images:
        raise UsageError(
            "--distill teaches one group of single images: leave --groups and --group-images out"
        )
