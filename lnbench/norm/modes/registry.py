"""What a mode is: one function, whose keyword options are its parser, its canonical text and its help."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from lnbench.errors import UsageError, unknown
from lnbench.lazy import F
from lnbench.norm.modes.options import Declared, declared, keywords, show, usual, value
from lnbench.norm.modes.options import Option as Option
from lnbench.norm.selection import ALL, read_layers, select

if TYPE_CHECKING:
    from torch import Tensor

    from lnbench.norm.state import Layer, State

Result = TypeVar("Result")
Unit = Literal["image", "batch", "stream"]
Forward = Callable[["Tensor"], "Tensor"]
"""uint8 pixels (B, 3, H, W) → logits float32 (B, classes), with the norm layers in the mode."""
DrawnImages = Callable[[int, int], "Tensor"]
"""(n, number) → n images of the condition, draw `number` from 0: uint8 (n, 3, H, W).

The draw is the run's: seed, condition and number decide it, and one draw is independent of another."""

LAYERS = "layers"  # the option that every mode has
SIZE = "size"  # that every mode has whose unit is not the image
_SIZE: Declared = (int, Option("images of a batch, where not as many as --batch-size says", least=1), None)


Variance = Annotated[Literal["biased", "unbiased"], Option("variance divided by n values, or by n − 1")]
"""The option `var` of modes of which a published one is defined with the other variance."""


Views = Annotated[int | None, Option("views of an image whose statistics are taken with its own", least=1)]
"""The option `views` of modes that take single images' statistics."""


class Prediction(NamedTuple):
    """Log-probabilities float32 (B, classes), and the predicted classes int64 (B,)."""

    log_probs: Tensor
    predicted: Tensor


class Setting(NamedTuple):
    """What a mode may ask of a run before it starts.

    `layers`, `local`: names of the norm layers, and of those that are LocalNorm; `groups`: their K, else 1;
    `own`: names of the layers without stored statistics (GroupNorm, LayerNorm), whose weights can be learned;
    `clean`: whether there are images without corruption.
    """

    layers: tuple[str, ...]
    local: tuple[str, ...]
    groups: int
    batch_size: int
    images: int
    own: tuple[str, ...] = ()
    clean: bool = True


def plain(forward: Forward, pixels: Tensor, state: State, groups: int) -> Prediction:
    """One forward pass and its most probable classes."""
    return answer(forward(pixels))


def answer(logits: Tensor) -> Prediction:
    """The prediction of logits (B, classes)."""
    return Prediction(F.log_softmax(logits, dim=-1), logits.argmax(-1))


@dataclass(frozen=True)
class Kind:
    """A registered mode. `options`: name → (type, Option, default), in the order of the canonical text."""

    name: str
    about: str
    function: Callable[..., Tensor]
    options: Mapping[str, Declared]
    unit: Unit | Callable[..., Unit]
    begin: Callable[..., None] | None
    predict: Callable[..., Prediction]
    predict_when: Callable[..., bool]
    images: Callable[..., int]
    draws: Callable[..., int]
    passes: Callable[..., int]
    refuse: Callable[..., str | None]
    note: Callable[..., str | None]
    learns: Callable[..., bool] | None
    clean: bool
    source: Callable[..., str | None]


KINDS: dict[str, Kind] = {}


def mode(
    name: str,
    *,
    unit: Unit | Callable[..., Unit] = "image",
    begin: Callable[..., None] | None = None,
    predict: Callable[..., Prediction] = plain,
    predict_when: Callable[..., bool] = lambda: True,
    images: Callable[..., int] = lambda: 0,
    draws: Callable[..., int] = lambda: 1,
    passes: Callable[..., int] = lambda groups: 1,
    refuse: Callable[..., str | None] = lambda setting: None,
    note: Callable[..., str | None] = lambda setting: None,
    learns: Callable[..., bool] | None = None,
    clean: bool = False,
    source: Callable[..., str | None] = lambda: None,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register the decorated `function(x, layer, state, *, options) -> Tensor`, the output of a norm layer.

    Every function given here gets those of the mode's options that it names as keywords; the options of all
    of them together are the mode's. An option is annotated with its type (a number, a Literal of words,
    `| None`) and an `Option`. The docstring's first paragraph is the mode's description.

    Args:
        unit: what a prediction depends on beside its own image: nothing (`image`; computed in chunks of any
            size), its batch (`batch`), or all that came before it (`stream`; computed whole and in order by
            one process); or a function of the options.
        begin: `(forward, images, state)`, called once for each condition before anything is counted.
        predict: `(forward, pixels, state, groups) -> Prediction`; one forward pass otherwise.
        predict_when: `() -> bool`, whether the options need `predict` at all.
        images: `() -> int`, how many images `begin` asks for at once.
        draws: `() -> int`, how many draws of images share the set: each image is answered for by one of them,
            whose number `state.draw` tells the layers.
        passes: `(groups) -> int`, forward passes for each image.
        refuse: `(setting) -> str | None`, why the options cannot be, alone (setting None) or in a run.
        note: `(setting) -> str | None`, what a person should know beforehand.
        learns: `(name) -> bool`, whether weight and bias of a layer are in `state.affine` when it is used:
            copies that take a gradient. A mode that learns is also for GroupNorm and LayerNorm.
        clean: whether the images that `begin` sees are those without corruption.
        source: `() -> str | None`, a data spec of which the images are that `begin` sees; None: of the run's.

    Raises ValueError when the name is taken.

    Example:
        >>> import lnbench
        >>> @lnbench.mode("my_stored")
        ... def my_stored(x, layer, state):
        ...     "The stored statistics, written out."
        ...     return layer.normalize(x, layer.statistics, state)
        >>> lnbench.modes()["my_stored"].about
        'The stored statistics, written out'
    """

    def enter(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if name in KINDS:
            raise ValueError(f"mode '{name}' is registered twice")
        KINDS[name] = Kind(
            name, _about(function), function, _options(function, predict, begin), unit, begin, predict,
            predict_when, images, draws, passes, refuse, note, learns, clean, source,
        )  # fmt: skip
        return function

    return enter


def _about(function: Callable[..., object]) -> str:
    """The docstring's first paragraph as one sentence without its full stop."""
    return " ".join((function.__doc__ or "").split("\n\n")[0].split()).removesuffix(".")


def _options(*parts: Callable[..., object] | None) -> dict[str, Declared]:
    """The options of all parts of a mode; where two declare one, that of the part named first."""
    options: dict[str, Declared] = {}
    for part in parts:
        for option, one in declared(part).items() if part else ():
            options.setdefault(option, one)
    return options


@dataclass(frozen=True)
class Mode:
    """How norm layers find their statistics. `str(mode)` is canonical and parses back to the same mode.

    `options` holds a value for every option of its kind; `layers` says which norm layers it is for; `size`,
    how many images its batches have, where not as many as the run's.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: str = ALL
    size: int | None = None

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        shown = [
            f"{name}={show(value)}"
            for name, value in self.options.items()
            # Numbers are always said; a word only where it is not the usual one.
            if value is not None and (isinstance(value, int | float) or value != self._kind.options[name][2])
        ]
        shown += [f"{SIZE}={self.size}"] if self.size is not None else []
        shown += [f"{LAYERS}={self.layers}"] if self.layers != ALL else []
        return f"{self.kind}:{','.join(shown)}" if shown else self.kind

    @property
    def _kind(self) -> Kind:
        return KINDS[self.kind]

    @property
    def normalize(self) -> Callable[[Tensor, Layer, State], Tensor]:
        """A norm layer's output (B, C, ...) for its input, the layer, and what the mode keeps."""
        return partial(self._kind.function, **self._given(self._kind.function))

    @property
    def unit(self) -> Unit:
        """What a prediction depends on beside its own image: nothing, its batch, or the stream before it."""
        unit = self._kind.unit
        return self._call(unit) if callable(unit) else unit

    @property
    def is_plain(self) -> bool:
        """Whether a prediction is one forward pass and no more."""
        return self._kind.predict is plain or not self._call(self._kind.predict_when)

    @property
    def images(self) -> int:
        """How many images of a condition it looks at together before the first is counted."""
        return self._call(self._kind.images)

    @property
    def images_option(self) -> str:
        """The option that says how many; empty where there is none."""
        return next(iter(keywords(self._kind.images)), "")

    @property
    def is_learning(self) -> bool:
        """Whether it takes gradient steps on copies of weights and biases."""
        return self._kind.learns is not None

    @property
    def is_begun_clean(self) -> bool:
        """Whether the images that `begin` sees are those without corruption."""
        return self._kind.clean

    @property
    def source(self) -> str | None:
        """The data of which the images are that `begin` sees, where not the run's own."""
        return self._call(self._kind.source)

    def learns(self, layer: str) -> bool:
        """Whether the layer's weight and bias are among those copies."""
        return self._kind.learns is not None and self._call(self._kind.learns, layer)

    @property
    def draws(self) -> int:
        """How many draws of such images share the set between them."""
        return self._call(self._kind.draws)

    def passes(self, groups: int) -> int:
        """Forward passes for each image on a network of LocalNorm layers with K groups, or 1."""
        return self._call(self._kind.passes, groups)

    def refuse(self, setting: Setting | None) -> None:
        """Raise UsageError where the mode cannot be what it was asked to be; None: judged by itself alone."""
        if self.size is not None and self.unit == "image":
            raise UsageError(f"mode '{self}': has no batches, so no size of them")
        if self.size is not None and setting is not None:
            if self.size > setting.images:
                raise UsageError(f"mode '{self}': the data has only {setting.images} images")
            setting = setting._replace(batch_size=self.size)
        reason = self._call(self._kind.refuse, setting)
        if reason is not None:
            raise UsageError(f"mode '{self}': {reason}")
        if setting is not None and self.layers != ALL:
            names = setting.layers + (setting.own if self.is_learning else ())
            select(self.layers, names, setting.local, str(self))

    def note(self, setting: Setting) -> str | None:
        """What a person should know before the mode is run."""
        if self.size is not None:
            setting = setting._replace(batch_size=self.size)
        return self._call(self._kind.note, setting) if self.layers == ALL else None

    def batch_size(self, usual: int) -> int:
        """How many images its batches have, in a run where they `usual`ly have so many."""
        return usual if self.size is None else self.size

    @property
    def is_whole(self) -> bool:
        """Whether one process counts it from the first image to the last: a stream, or batches of its own."""
        return self.unit == "stream" or self.size is not None

    def begin(self, forward: Forward, images: DrawnImages, state: State) -> None:
        """What the mode does once for a condition, before anything is counted."""
        if self._kind.begin is not None:
            self._call(self._kind.begin, forward, images, state)

    def predict(self, forward: Forward, pixels: Tensor, state: State, groups: int) -> Prediction:
        """Predictions of uint8 pixels (B, 3, H, W); `groups`: K of the network's LocalNorm layers, or 1."""
        if self.is_plain:
            return plain(forward, pixels, state, groups)
        return self._call(self._kind.predict, forward, pixels, state, groups)

    def _call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return function(*arguments, **self._given(function))

    def _given(self, function: Callable[..., Any]) -> dict[str, Any]:
        return {name: self.options[name] for name in keywords(function)}


def find(name: str) -> Kind:
    """The registered mode of that name. Raises UsageError naming near ones."""
    if name not in KINDS:
        raise unknown("mode", name, KINDS)
    return KINDS[name]


def names() -> tuple[str, ...]:
    """The modes there are, the untouched network first."""
    return tuple(sorted(KINDS, key=lambda name: (name != "fixed", name)))


def usages() -> tuple[str, ...]:
    """Every mode as it is typed, with the options that are always said."""
    return tuple(str(make(name)) for name in names())


def describe(name: str) -> str:
    """One line about a mode with its options."""
    kind = find(name)
    options = [f"{option}={usual(one)}" for option, one in kind.options.items()]
    return kind.about + (f"; {', '.join(options)}" if options else "")


def make(kind: str, layers: str = ALL, size: int | None = None, **given: Any) -> Mode:
    """A mode from values that are already of the right types; what is not given takes its default."""
    options = {o: given.get(o, default) for o, (*_, default) in find(kind).options.items()}
    return Mode(kind, options, layers, size)


def parse(text: str) -> Mode:
    """Read a mode as typed: `fixed`, `local:vote=mean`, `blend:N=16,scope=batch`, `adapt:n=32`.

    Raises:
        UsageError: unknown mode, option or value; the line names near or possible ones.
    """
    name, _, rest = text.strip().partition(":")
    kind = find(name)
    given: dict[str, Any] = {}
    for item in rest.split(",") if rest.strip() else ():
        option, equals, word = (part.strip() for part in item.partition("="))
        if option not in kind.options and option not in (LAYERS, SIZE):
            raise _unknown_option(text, kind, option)
        if not equals or not word:
            raise UsageError(f"mode '{text}': option '{option}' has no value; write {option}=…")
        if option in given:
            raise UsageError(f"mode '{text}': option '{option}' is given twice")
        given[option] = (
            read_layers(text, word)
            if option == LAYERS
            else value(text, option, kind.options.get(option, _SIZE), word)
        )
    made = make(name, **given)
    made.refuse(None)
    return made


def _unknown_option(text: str, kind: Kind, name: str) -> UsageError:
    known = sorted([*kind.options, LAYERS, *([SIZE] if kind.unit != "image" else [])])
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"'{kind.name}' takes {', '.join(known)}"
    return UsageError(f"mode '{text}': unknown option '{name}': {hint}")
