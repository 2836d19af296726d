"""Option values that are more than one word: `r,g,b`, `HEIGHTxWIDTH`, `fixed,batch`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from lnbench.config import check_sides
from lnbench.errors import UsageError
from lnbench.files import one_line
from lnbench.results.choice import Chosen, read


def channels(option: str, text: str | None) -> tuple[float, float, float] | None:
    """Three numbers for red, green and blue. Raises UsageError."""
    if text is None:
        return None
    try:
        r, g, b = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{option} takes three numbers r,g,b such as 0.485,0.456,0.406; got '{one_line(text, 80)}'"
        ) from None
    if not all(abs(value) < float("inf") for value in (r, g, b)):
        raise UsageError(f"{option} takes finite numbers, got '{one_line(text, 80)}'")
    return r, g, b


def sides(option: str, text: str | None) -> int | tuple[int, int] | None:
    """One side, or HEIGHTxWIDTH. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise UsageError(
            f"{option} takes pixels such as 224, or HEIGHTxWIDTH such as 224x320; got '{one_line(text, 80)}'"
        )
    height, width = match.groups()
    return check_sides(int(height) if width is None else (int(height), int(width)))


def size(option: str, text: str | None) -> int | None:
    """Bytes: `4GiB`, `4GB`, `500M`, `4294967296`. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if not match:
        raise UsageError(f"{option} takes a size such as 4GiB or 500MiB; got '{one_line(text, 80)}'")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def whole_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Numbers from 1 on, such as `1,16`; none where the option is not given. Raises UsageError."""
    if text is None:
        return ()
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise UsageError(f"{option} takes whole numbers such as 1,16; got '{one_line(text, 80)}'")
    return tuple(int(part) for part in text.split(","))


def modes(texts: Iterable[str], known: Collection[str]) -> list[str]:
    """Each mode by itself, where several were given at once: `fixed,batch`.

    A mode's options have commas too (`blend:N=16,scope=batch`), so a comma ends a mode only where a known
    one follows, or something that is no `option=value`.
    """
    found: list[str] = []
    for text in texts:
        first, *rest = re.split(r",(?![^{}]*\})", text)  # not within the braces of a sweep
        found.append(first)
        for part in rest:
            if part.partition(":")[0].strip() in known or "=" not in part:
                found.append(part)
            else:
                found[-1] += f",{part}"
    return found


def chosen(modes: Iterable[str]) -> tuple[list[str], Chosen | None]:
    """Modes with the one that a file of `lnbench choose` holds in its place, and that choice.

    Raises RecordError for another file, UsageError for two of them.
    """
    found: Chosen | None = None
    named = []
    for text in modes:
        if text.endswith(".json"):
            if found is not None:
                raise UsageError("--norm takes one choice of `lnbench choose` a run")
            found = read(Path(text)).chosen
        named.append(text if found is None or not text.endswith(".json") else found.mode)
    return named, found


def command() -> str:
    """The command line as typed, ready to be pasted."""
    return shlex.join(["lnbench", *sys.argv[1:]])


def named(option: str, texts: Iterable[str]) -> dict[str, str]:
    """`NAME=DATA` texts by name. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{option} takes NAME=DATA, got '{one_line(text, 80)}'")
        if name in found:
            raise UsageError(f"{option} {name} is given twice")
        found[name] = value
    return found
