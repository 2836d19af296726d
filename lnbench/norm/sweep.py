"""Several modes in one word: `local:layers=first{0..8}`, `blend:N={1,4,16}`, `adapt:n={8..64..8}`."""

from __future__ import annotations

import itertools
import re

from lnbench.errors import UsageError

MOST = 100  # modes in one sweep: each of them is a pass over everything

_RANGE = re.compile(r"(\d{1,6})\.\.(\d{1,6})(?:\.\.(\d{1,6}))?")


def expand(text: str) -> tuple[str, ...]:
    """Every mode that a text with braces stands for; the text itself where it has none.

    `{a..b}` counts from a to b, both included, `{a..b..s}` in steps of s, `{x,y,z}` lists. Several braces
    give every combination, the last one changing fastest. Raises UsageError for braces that are none of
    these or give more than 100 modes.
    """
    pieces = re.split(r"\{([^{}]*)\}", text)
    if any(sign in piece for piece in pieces[::2] for sign in "{}"):
        raise UsageError(f"mode '{text}': a brace has no partner; write {{0..8}} or {{1,4,16}}")
    choices = [[piece] if number % 2 == 0 else _choices(text, piece) for number, piece in enumerate(pieces)]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > MOST:
        raise UsageError(f"mode '{text}': stands for {total} modes; {MOST} is the most in one sweep")
    return tuple(dict.fromkeys("".join(chosen) for chosen in itertools.product(*choices)))


def _choices(text: str, inside: str) -> list[str]:
    match = _RANGE.fullmatch(inside.strip())
    if match is None:
        values = [value.strip() for value in inside.split(",")]
        if len(values) < 2 or not all(values):
            raise UsageError(f"mode '{text}': {{{inside}}} is no range or list; write {{0..8}} or {{1,4,16}}")
        return values
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if first > last or step < 1:
        raise UsageError(f"mode '{text}': {{{inside}}} counts upwards, in steps of at least 1")
    return [str(value) for value in range(first, last + 1, step)[: MOST + 1]]
