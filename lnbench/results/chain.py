"""Lines that hold each other: each carries a hash of itself and of all before it.

None can be changed, left out or put elsewhere unseen: by a mistake or an edit, that is, not by whoever
computes all the hashes anew.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from pathlib import Path

from lnbench.errors import RecordError
from lnbench.files import read_bytes, reason

_LINE = re.compile(rb'(\{.*),"chain":"([0-9a-f]{64})"\}\n', re.DOTALL)


def start(*names: object) -> str:
    """The hash before the first line: of what the lines belong to."""
    return _hash("", " ".join(map(str, names)).encode())


def link(before: str, text: str) -> tuple[bytes, str]:
    """A JSON object as the next line, and the hash after it."""
    after = _hash(before, text.encode())
    return f'{text[:-1]},"chain":"{after}"}}\n'.encode(), after


def unlink(before: str, line: bytes, linked: bool) -> tuple[bytes, str, bool]:
    """The JSON object of the next line, the hash after it, and whether it carries one.

    Lines from before hashes were kept come first, if at all; `linked` says that there was one with a hash.
    RecordError where the line is not what follows.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        if linked:
            raise RecordError("the line was changed")
        text = line.removesuffix(b"\n")
        return text, _hash(before, text), False
    text = found[1] + b"}"
    after = _hash(before, text)
    if after.encode() != found[2]:
        raise RecordError("the line was changed, or one before it changed, left out or moved")
    return text, after, True


def read_lines(file: Path, first: str, accept: Callable[[bytes], None], *, repair: bool = True) -> str:
    """Give each line of a file of such lines to `accept`; the hash after the last, `first` if there is none.

    A last line that is torn, or that `accept` refuses with a RecordError, is left out; with `repair` it is
    cut off the file too, but not where somebody else may be writing it. RecordError where another line is
    refused, or the file cannot be written.
    """
    content = read_bytes(file) if file.exists() else b""
    lines = io.BytesIO(content).readlines()
    offset, last, linked = 0, first, False
    for number, line in enumerate(lines, 1):
        try:
            if not line.endswith(b"\n"):
                raise RecordError("cut short")
            text, after, linked = unlink(last, line, linked)
            accept(text)
        except RecordError as error:
            if number == len(lines):
                break
            raise RecordError(
                f"{file} line {number}: {error}; delete it and the lines after it to compute them again"
            ) from None
        offset += len(line)
        last = after
    if repair and offset < len(content):
        try:
            os.truncate(file, offset)
        except OSError as error:
            raise RecordError(f"cannot write {file}: {reason(error)}") from None
    return last


def _hash(before: str, text: bytes) -> str:
    return hashlib.sha256(before.encode() + b"\n" + text).hexdigest()
