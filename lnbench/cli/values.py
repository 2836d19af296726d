"""Option values that are more than one word: `r,g,b`, `HEIGHTxWIDTH`, names for folders."""

from __future__ import annotations

import re

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


def slug(text: str) -> str:
    """A name that is safe as one folder on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "run"
