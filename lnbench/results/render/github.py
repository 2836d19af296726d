"""Annotations in a GitHub Actions log: the failures, where a reader of the pull request sees them."""

from __future__ import annotations

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
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
