"""The options of a mode: keywords of its functions, read from what a person types and written back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from lnbench.errors import UsageError
from lnbench.files import printable


class Option(NamedTuple):
    """What an option's annotation says beside its type: one line of help, and the least number it takes."""

    about: str
    least: float = -math.inf


Declared: TypeAlias = tuple[Any, Option, Any]
"""An option's type, what its annotation says beside it, and its default."""


@cache
def keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's keyword options."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)


def declared(function: Callable[..., Any]) -> dict[str, Declared]:
    """Keyword options of a function: name → (type, Option, default)."""
    found = {}
    for name in keywords(function):
        parameter = inspect.signature(function).parameters[name]
        annotation = parameter.annotation
        if isinstance(annotation, str):
            # One at a time: annotations of tensors are for type checkers only and need not evaluate.
            annotation = eval(annotation, function.__globals__)
        options = [extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, Option)]
        kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        found[name] = (kind, options[0] if options else Option(""), parameter.default)
    return found


def usual(one: Declared) -> str:
    """An option's default, then the other words it takes."""
    kind, _, default = one
    words = dict.fromkeys([*([] if default is None else [show(default)]), *choices(kind)])
    return "|".join(words) or "…"


def choices(kind: Any) -> tuple[str, ...]:
    """The words that an option of this type takes, beside numbers or none."""
    if is_union(kind):
        return tuple(word for one in get_args(kind) for word in choices(one))
    return get_args(kind) if get_origin(kind) is Literal else ()


def value(text: str, name: str, one: Declared, given: str) -> Any:
    """The value that a person gave for an option of the mode `text`. UsageError where it cannot be one."""
    kind, option, _ = one
    possible = get_args(kind) if is_union(kind) else (kind,)
    if str in possible:
        return _own_words(text, name, given)
    words = list(choices(kind))
    if given in words:
        return given
    for number, what in ((int, "a whole number"), (float, "a number")):
        if number in possible:
            read = _whole(given) if number is int else _number(given)
            if read is not None and read >= option.least:
                return read
            words.append(what + (f" of at least {option.least:g}" if option.least > -math.inf else ""))
    raise UsageError(f"mode '{text}': {name} must be {' or '.join(words)}, not '{given}'")


def _own_words(text: str, name: str, given: str) -> str:
    if not given.isprintable():
        raise UsageError(f"mode '{printable(text)}': {name} holds characters that cannot be printed")
    return given


def is_union(kind: Any) -> bool:
    """Whether an option takes values of several types."""
    return get_origin(kind) is Union or type(kind).__name__ == "UnionType"


def _whole(value: str) -> int | None:
    # isdecimal alone would take other scripts' digits, which int() reads but str(mode) does not give back
    return int(value) if value.isascii() and value.isdecimal() and len(value) <= 9 else None


def _number(value: str) -> float | None:
    try:
        number = float(value) + 0.0  # -0 is 0
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def show(value: Any) -> str:
    """Shortest text that reads back as the same value, without '.0' on whole numbers."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
