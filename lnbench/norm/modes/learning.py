"""What the modes that learn share: their options, when they forget what they learned, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from lnbench.norm.gradient import forget
from lnbench.norm.modes.registry import DrawnImages, Forward, Option, Setting

if TYPE_CHECKING:
    from lnbench.norm.state import State

Rate = Annotated[float, Option("length of a step", least=0)]
Optimizer = Annotated[Literal["sgd", "adam"], Option("SGD with momentum 0.9, or Adam")]
Loss = Annotated[Literal["entropy", "come"], Option("how unsure a prediction is: its entropy, or COME's")]
Steps = Annotated[int, Option("steps on each batch", least=1)]
Reset = Annotated[
    int | Literal["never", "condition", "batch"],
    Option("what is learned is forgotten: at every condition, every batch, after so many batches", least=1),
]

_BATCHES = "batches"  # in State.extra: how many there were since the stream began


def next_batch(state: State, reset: Reset) -> None:
    """Count a batch, and before it forget what is due."""
    seen = state.extra.get(_BATCHES, 0)
    if seen and (reset == "batch" or (isinstance(reset, int) and seen % reset == 0)):
        forget(state)
        state.counts["resets"] += 1
    state.extra[_BATCHES] = seen + 1


def next_condition(forward: Forward, images: DrawnImages, state: State, *, reset: Reset) -> None:
    """Forget at the beginning of a condition, where asked for: the state may come from another one."""
    if reset == "condition":
        forget(state)


def refuse(setting: Setting | None, *, reset: Reset) -> str | None:
    """Settings in which a mode that takes one step is another mode, or cannot be."""
    if reset == "batch":
        return "its answers are those from before the step: forgotten after every batch, that is mode batch"
    if setting is None or not setting.layers:
        return None
    if setting.batch_size == 1:
        return "at --batch-size 1 these layers take the statistics of single images: that is mode local"
    rest = setting.images % setting.batch_size % setting.groups
    if rest or setting.batch_size % setting.groups:
        return (
            f"batches of {setting.batch_size} of {setting.images} images cannot all be cut into the "
            f"{setting.groups} groups of LocalNorm layers; --batch-size and --limit must be multiples"
        )
    return None
