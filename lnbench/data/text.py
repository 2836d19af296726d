"""What strangers wrote, as one line of text that any terminal and file can take."""

from __future__ import annotations

_LONGEST = 160  # characters of another library's error message; numpy quotes whole headers


def printable(text: str) -> str:
    """`text` itself, or with escapes where it holds line breaks, control characters or undecodable bytes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def one_line(error: Exception) -> str:
    """The message of an error raised over a stranger's file, or its type where it has none."""
    message = " ".join(str(error).split())
    if len(message) > _LONGEST:
        message = message[: _LONGEST - 1] + "…"
    return printable(message) or type(error).__name__
