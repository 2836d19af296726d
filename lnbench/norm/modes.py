"""The five normalization modes as plain values: parsing, canonical text, one line of description each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from lnbench.errors import UsageError, unknown

Kind = Literal["fixed", "batch", "local", "blend", "adapt"]
Vote = Literal["majority", "mean"]
Scope = Literal["image", "batch"]
Layers = Literal["all", "localnorm"]

DEFAULT_PRIOR = 16.0  # N of single-image blends in Schneider et al. and MEMO
DEFAULT_SAMPLES = 32  # the adaptation batch of Benz et al.

DESCRIPTIONS: dict[str, str] = {
    "fixed": "the stored statistics of the checkpoint; the untouched model",
    "batch": "statistics of the current batch (--batch-size images)",
    "local": "statistics of each single image; with LocalNorm vote=majority|mean, group=k, layers=localnorm",
    "blend": "stored statistics, weight N, mixed with the image's (or scope=batch the batch's): blend:N=16",
    "adapt": "statistics of n images of each condition, then fixed: adapt:n=32",
}


@dataclass(frozen=True)
class Mode:
    """How norm layers find their statistics. `str(mode)` is canonical and parses back to the same mode.

    `vote`, `group`, `layers`: of `local` on LocalNorm networks; with `layers=localnorm` the other layers
    keep their stored statistics. `N`, `scope`: of `blend`. `n`: of `adapt`.
    Options of other kinds keep their defaults.
    """

    kind: Kind
    vote: Vote = "majority"
    group: int | None = None
    layers: Layers = "all"
    N: float = DEFAULT_PRIOR
    scope: Scope = "image"
    n: int = DEFAULT_SAMPLES

    @property
    def needs_batch(self) -> bool:
        """Whether an image's prediction depends on the other images of its batch."""
        return self.kind == "batch" or (self.kind == "blend" and self.scope == "batch")

    def __str__(self) -> str:
        options = []
        if self.kind == "local" and self.vote != "majority":
            options.append(f"vote={self.vote}")
        if self.kind == "local" and self.group is not None:
            options.append(f"group={self.group}")
        if self.kind == "local" and self.layers != "all":
            options.append(f"layers={self.layers}")
        if self.kind == "blend":
            options.append(f"N={_number(self.N)}")
        if self.kind == "blend" and self.scope != "image":
            options.append(f"scope={self.scope}")
        if self.kind == "adapt":
            options.append(f"n={self.n}")
        return f"{self.kind}:{','.join(options)}" if options else self.kind


FIXED = Mode("fixed")


def parse(text: str) -> Mode:
    """Read a mode as typed: `fixed`, `local:vote=mean`, `blend:N=16,scope=batch`, `adapt:n=32`.

    Raises:
        UsageError: unknown mode, option or value; the line names near or possible ones.
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in DESCRIPTIONS:
        raise unknown("mode", kind, DESCRIPTIONS)
    given: dict[str, object] = {}
    for item in rest.split(",") if rest.strip() else ():
        name, equals, value = (part.strip() for part in item.partition("="))
        if name not in OPTIONS[kind]:
            raise _unknown_option(text, kind, name)
        if not equals or not value:
            raise UsageError(f"mode '{text}': option '{name}' has no value; write {name}=…")
        if name in given:
            raise UsageError(f"mode '{text}': option '{name}' is given twice")
        given[name] = OPTIONS[kind][name](text, name, value)
    if "vote" in given and "group" in given:
        raise UsageError(f"mode '{text}': one group has no vote; give vote=… or group=…, not both")
    return Mode(kind, **given)  # type: ignore[arg-type]  # names and types checked against OPTIONS


def _unknown_option(text: str, kind: str, name: str) -> UsageError:
    known = sorted(OPTIONS[kind])
    if not known:
        return UsageError(f"mode '{text}': '{kind}' takes no options")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"'{kind}' takes {', '.join(known)}"
    return UsageError(f"mode '{text}': unknown option '{name}': {hint}")


def _choice(text: str, name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"mode '{text}': {name} must be {' or '.join(choices)}, not '{value}'")
    return value


def _vote(text: str, name: str, value: str) -> str:
    return _choice(text, name, value, get_args(Vote))


def _scope(text: str, name: str, value: str) -> str:
    return _choice(text, name, value, get_args(Scope))


def _layers(text: str, name: str, value: str) -> str:
    return _choice(text, name, value, get_args(Layers))


def _whole(text: str, name: str, value: str, least: int) -> int:
    # isdecimal alone would take other scripts' digits, which int() reads but str(mode) does not give back
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) >= least):
        raise UsageError(f"mode '{text}': {name} must be a whole number of at least {least}, not '{value}'")
    return int(value)


def _group(text: str, name: str, value: str) -> int:
    return _whole(text, name, value, 0)


def _samples(text: str, name: str, value: str) -> int:
    return _whole(text, name, value, 1)


def _prior(text: str, name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(f"mode '{text}': {name} must be a number of at least 0, not '{value}'")
    return number + 0.0  # -0 is 0


def _number(value: float) -> str:
    """Shortest text that reads back as the same float, without '.0' on whole numbers."""
    return repr(value).removesuffix(".0")


OPTIONS: dict[str, dict[str, Callable[[str, str, str], object]]] = {
    "fixed": {},
    "batch": {},
    "local": {"vote": _vote, "group": _group, "layers": _layers},
    "blend": {"N": _prior, "scope": _scope},
    "adapt": {"n": _samples},
}
