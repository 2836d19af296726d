"""Option values that are more than one word: `r,g,b`, `HEIGHTxWIDTH`, names for folders."""

from __future__ import annotations

import re
import shlex
import sys

from lnbench.errors import UsageError


def channels(option: str, text: str | None) -> tuple[float, float, float] | None:
    """Three numbers for red, green and blue. Raises UsageError."""
    if text is None:
        return None
    try:
        r, g, b = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{option} takes three numbers r,g,b such as 0.485,0.456,0.406; got '{text}'"
        ) from None
    if not all(abs(value) < float("inf") for value in (r, g, b)):
        raise UsageError(f"{option} takes finite numbers, got '{text}'")
    return r, g, b


def sides(option: str, text: str | None) -> int | tuple[int, int] | None:
    """One side, or HEIGHTxWIDTH. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise UsageError(f"{option} takes pixels such as 224, or HEIGHTxWIDTH such as 224x320; got '{text}'")
    height, width = match.groups()
    return int(height) if width is None else (int(height), int(width))


def size(option: str, text: str | None) -> int | None:
    """Bytes: `4GiB`, `4GB`, `500M`, `4294967296`. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if not match:
        raise UsageError(f"{option} takes a size such as 4GiB or 500MiB; got '{text}'")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def slug(text: str) -> str:
    """A name that is safe as one folder on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "run"


def command() -> str:
    """The command line as typed, ready to be pasted."""
    return shlex.join(["lnbench", *sys.argv[1:]])
