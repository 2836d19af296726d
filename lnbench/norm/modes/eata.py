"""`eata`: as `eta`, held back by what matters on images without corruption (Niu et al., arXiv 2204.02610)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from lnbench.norm import gradient, reliable
from lnbench.norm.modes import learning
from lnbench.norm.modes.eta import Likeness, Margin
from lnbench.norm.modes.learning import Loss, Optimizer, Rate, Reset
from lnbench.norm.modes.registry import DrawnImages, Forward, Option, Prediction, Setting, answer, mode

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Fisher = Annotated[int, Option("images without corruption that say how much each weight matters", least=1)]
Source = Annotated[
    str | None, Option("data of which those images are, such as folder:PATH; the run's own otherwise")
]
Alpha = Annotated[float, Option("how much a weight that matters is held back", least=0)]


def measure(forward: Forward, images: DrawnImages, state: State, *, fisher: Fisher, reset: Reset) -> None:
    """Measure once how much each weight matters, without labels."""
    learning.next_condition(forward, images, state, reset=reset)
    if not reliable.is_measured(state):
        reliable.measure(forward, images(fisher, 0), state)


def adapt(
    forward: Forward,
    pixels: Tensor,
    state: State,
    groups: int,
    *,
    fisher: Fisher = 2000,
    source: Source = None,
    alpha: Alpha = 2000.0,
    lr: Rate = 0.00025,
    optimizer: Optimizer = "sgd",
    margin: Margin = 0.4,
    d: Likeness = 0.05,
    loss: Loss = "entropy",
    reset: Reset = "never",
) -> Prediction:
    """A step on each batch in which there is something to learn from; the answer is that from before it."""
    learning.next_batch(state, reset)
    objective = reliable.held(reliable.weighted_entropy(state, margin, d), state, alpha)
    return answer(gradient.step(forward, pixels, state, objective, lr, optimizer, gradient.LOSSES[loss]))


def _refuse(setting: Setting | None, *, fisher: Fisher, source: Source, reset: Reset) -> str | None:
    if setting is not None and source is None:
        if fisher > setting.images:
            return f"the data has only {setting.images} images: use a smaller fisher, or source=DATA"
        if not setting.clean:
            return (
                "it needs images without corruption, and a corrupted set has none: give others by "
                "source=DATA; eta needs none"
            )
    return learning.refuse(setting, reset=reset)


@mode(
    "eata",
    unit="stream",
    begin=measure,
    clean=True,
    source=lambda *, source: source,
    predict=adapt,
    images=lambda *, fisher: fisher,
    refuse=_refuse,
    learns=lambda name: True,
)
def eata(x: Tensor, layer: Layer, state: State) -> Tensor:
    """As eta, with weights held back by what matters on clean images."""
    return layer.normalize_batch(x, state)
