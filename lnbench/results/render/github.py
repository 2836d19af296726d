"""Annotations in a GitHub Actions log: the failures, where a reader of the pull request sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from lnbench.files import inert
from lnbench.results.compare import Comparison

MOST = 10  # GitHub shows this many error annotations of a step


def commands(comparison: Comparison) -> list[str]:
    """`::error` commands, at most ten: the last one counts what is left out."""
    texts = [failure.text for failure in comparison.failures]
    if len(texts) > MOST:
        texts = [*texts[: MOST - 1], f"and {len(texts) - MOST + 1} more failures"]
    return [f"::error title=lnbench compare::{escape(text)}" for text in texts]


def escape(text: str) -> str:
    """A message that stays one command, whatever it holds."""
    return inert(text).replace("%", "%25")


SUMMARY_CAP = 1024 * 1024  # bytes a step's summary may have; GitHub drops what is larger


def append_summary(file: Path, page: Callable[[int], str]) -> None:
    """Add a page to the step summary; `page` makes it for the number of bytes that are left.

    A summary that cannot be written does not change the outcome of the comparison.
    """
    with contextlib.suppress(OSError):
        used = file.stat().st_size if file.exists() else 0
        text = page(max(0, SUMMARY_CAP - used - 1)).encode("utf-8", "backslashreplace")
        if used + len(text) < SUMMARY_CAP:
            with file.open("ab") as summary:
                summary.write(text)
