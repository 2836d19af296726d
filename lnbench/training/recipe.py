"""How to fine-tune, as plain numbers: what they mean at a step, and which of them cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lnbench.errors import DataError, UsageError


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults suit a converted network whose weights are already good.

    `batch_size` is the global one, over all processes. `lr` is the peak of a cosine that starts with a
    linear warm-up over the first `warmup` of all steps. `group_images`: images in a group of a LocalNorm
    layer, taken in turn from step to step, each a divisor of batch/K; empty for the paper's B/K always.
    `amp`: 16-bit convolutions; None for on a GPU and off on a CPU.
    `pad`: pixels of zero border for the random crops; None takes an eighth of the image's side.
    """

    epochs: int = 10
    lr: float = 0.02
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.05
    flip: bool = True
    pad: int | None = None
    group_images: tuple[int, ...] = ()
    amp: bool | None = None
    seed: int = 0


def cuts(recipe: Recipe, step: int, groups: int, images: int) -> int:
    """Into how many parts each of K groups is cut at a step."""
    if not recipe.group_images:
        return 1
    return images // (groups * recipe.group_images[step % len(recipe.group_images)])


def check(recipe: Recipe, groups: int | None, images: int, world: int) -> None:
    """Refuse a recipe that does not fit K = `groups` (None without LocalNorm), `images` or `world` processes.

    Raises UsageError; DataError for fewer images than a batch.
    """
    size = recipe.batch_size
    if recipe.epochs < 1 or size < 2 or not 0 < recipe.lr < math.inf:
        raise UsageError("a training needs at least 1 epoch, 2 images a batch and a learning rate above 0")
    if size > images:
        raise DataError(f"{images} training images are fewer than one batch of {size}: use --batch-size")
    if size % world:
        raise UsageError(
            f"--batch-size {size} cannot be shared by {world} processes: use a multiple of {world}"
        )
    share = size // world
    if groups is not None and share % groups:
        raise UsageError(
            f"--batch-size {size}: the {share} images of a process cannot be cut into {groups} equal groups; "
            f"use a multiple of {groups * world}, or fewer groups"
        )
    for count in recipe.group_images:
        if groups is None or count < 1 or share % (groups * count):
            raise UsageError(
                f"--group-images {count} does not divide the {share} images of a process among "
                f"{groups or 'no'} LocalNorm groups"
            )


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate at a step: linear warm-up to the peak, then half a cosine down to zero."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        return recipe.lr * (step + 1) / warm
    return recipe.lr * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
