"""A gzip file as the bytes inside it, read from any place: marks are left behind while it is first read.

A compressed stream can be gone on with only where the state of its decompressor is known, so a copy of that
state is kept every megabyte or so, as zlib's example zran.c does. Nothing is unpacked to disk, and what is
held does not grow with the file: some hundred marks of about 40 kB, further apart in larger files.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lnbench.files import regular

_CHUNK = 1 << 16  # bytes handled at a time
_APART = 1 << 20  # bytes inside between two marks, until there are too many of them
_MOST = 1024
_GZIP = 31  # zlib's way to say: a gzip header and checksum around a window of 32 kB
# Photographs hardly shrink, and headers around small ones no more than 50 times; a bomb's zeros 1,000 times.
_RATIO, _SMALL = 100, 1 << 30


class _Mark(NamedTuple):
    """A place to go on from: bytes of the file before it, bytes inside before it, and the decompressor there,
    of which only copies are used. `begun`: whether that is within a stream, of which a file may hold several.
    """

    outside: int
    inside: int
    state: Any
    begun: bool


@dataclass
class _Cursor:
    """Chunks to come, each with its place inside, and the one at hand."""

    chunks: Iterator[tuple[int, bytes]]
    start: int
    data: bytes = b""

    def read(self, place: int, size: int) -> bytes:
        """The bytes at a place that is not behind; fewer at the end."""
        found = bytearray()
        while True:
            begin = place + len(found) - self.start
            found += self.data[begin : begin + size - len(found)]
            following = next(self.chunks, None) if len(found) < size else None
            if following is None:
                return bytes(found)
            self.start, self.data = following


class Gzip:
    """The bytes inside a gzip file.

    To one thread it is a file, by `read`, `seek` and `tell`; once `finish` has read the rest, `at` is safe in
    many. Raises OSError, zlib.error for damage, EOFError where it breaks off, ValueError for a bomb.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bound = max(_SMALL, _RATIO * path.stat().st_size)
        self._marks = [_Mark(0, 0, zlib.decompressobj(_GZIP), False)]
        self._apart = _APART
        self._whole = False
        self._place = 0
        self._cursor = self._at(0)

    def read(self, size: int) -> bytes:
        if self._place < self._cursor.start:
            self._cursor = self._at(self._place)
        data = self._cursor.read(self._place, size)
        self._place += len(data)
        return data

    def seek(self, place: int) -> int:
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def finish(self) -> int:
        """Read to the end, where the checksum is; the number of bytes inside."""
        last = self._marks[-1]
        return max((place + len(data) for place, data in self._from(last)), default=last.inside)

    def at(self, place: int, size: int) -> bytes:
        """The bytes at a place; fewer at the end."""
        return self._at(place).read(place, size)

    def _at(self, place: int) -> _Cursor:
        mark = next(mark for mark in reversed(self._marks) if mark.inside <= place)
        return _Cursor(self._from(mark), mark.inside)

    def _from(self, mark: _Mark) -> Iterator[tuple[int, bytes]]:
        _, inside, state, begun = mark
        state, data = state.copy(), b""
        with regular(self._path) as file:
            file.seek(mark.outside)
            while True:
                self._leave(_Mark(file.tell() - len(data), inside, state, begun))
                raw = data or file.read(_CHUNK)
                data = raw if begun else raw.lstrip(b"\0")  # zeros may fill up what follows a stream
                if data or begun:
                    out = state.decompress(data, _CHUNK)
                    if not raw and not out:
                        raise EOFError("it breaks off")
                    if out:
                        yield inside, out
                    inside, begun, data = inside + len(out), True, state.unconsumed_tail
                    if state.eof:
                        data, state, begun = state.unused_data, zlib.decompressobj(_GZIP), False
                elif not raw:
                    self._whole = True
                    return

    def _leave(self, mark: _Mark) -> None:
        """Keep a mark, where the last one lies far enough behind, on the first way through the file."""
        if mark.inside > self._bound:
            raise ValueError(f"it grows to more than {_RATIO} times its size")
        if self._whole or mark.inside < self._marks[-1].inside + self._apart:
            return
        self._marks.append(mark._replace(state=mark.state.copy()))
        if len(self._marks) > _MOST:
            self._marks, self._apart = self._marks[::2], 2 * self._apart


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip files do. Raises OSError."""
    with regular(path) as file:
        return file.read(2) == b"\x1f\x8b"
