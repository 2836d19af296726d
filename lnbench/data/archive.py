"""Archives of class folders, read in place: members are listed by name, nothing is written to disk.

What a stranger's archive may hold is bounded: names that point elsewhere are refused, links and huge
members are images that cannot be read, and no member is larger than what it is read as.
"""

from __future__ import annotations

import itertools
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeVar, cast

from lnbench.data.decode import Unreadable
from lnbench.data.encoded import check_size, list_encoded
from lnbench.data.gzipped import Gzip, is_gzip
from lnbench.data.store import Listing, file_stamp
from lnbench.data.tree import arrange, normal, shown
from lnbench.errors import DataError
from lnbench.files import one_line, reason, regular

Member = TypeVar("Member")
Slice = tuple[int, int] | str  # where a member's bytes lie, (offset, size); or why they cannot be read
Fetch = Callable[[Slice], bytes]

_BLOCK = 512
_MAX_HEADER = 1 << 20  # bytes; a name and some times take less than one thousand
_DAMAGED = (tarfile.TarError, zlib.error, ValueError, EOFError, RecursionError)
_STREAMS = {"bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}


class _Seekable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def seek(self, place: int, /) -> int: ...
    def tell(self) -> int: ...


def list_members(
    path: Path, kind: str, members: Mapping[str, Member], fetch: Callable[[Member], bytes]
) -> Listing:
    """List the class folders among an archive's members, in the order the same files have in a folder.

    `fetch` gives the bytes of a member or raises `Unreadable`. Raises DataError.
    """
    where = f"{kind}:{path}"
    try:
        found: dict[str, Member] = {}
        for name, member in members.items():
            found[normal(name)] = member  # of two with one name the later one counts, as when unpacked
        tree = arrange(found)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    inside = f"{where} ({one_line(tree.folder, 200)})" if tree.part else where
    names = shown(tree.names)
    return list_encoded(
        lambda index: fetch(found[tree.folder + tree.names[index]]),
        source=inside,
        classes=shown(tree.classes),
        labels=tree.labels,
        name=names.__getitem__,
        stamp=file_stamp([path]) + tree.folder,
        part=tree.part,
        left_out=tree.left_out,
    )


def zip_members(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An open zip archive and its members by name. Raises DataError."""
    try:
        regular(path).close()
        archive = zipfile.ZipFile(path)
        return archive, {info.filename.replace("\\", "/"): info for info in archive.infolist()}
    except OSError as error:
        raise DataError(f"{path}: {reason(error).lower()}") from error
    except Exception as error:
        # Damaged directories raise BadZipFile, struct.error, UnicodeDecodeError, NotImplementedError, …
        raise DataError(f"{path}: no readable zip archive ({reason(error)}); is it whole?") from error


def zip_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes, their checksum verified; safe in threads. Raises `Unreadable`."""
    check_size(member.file_size)
    if member.flag_bits & 1:
        raise Unreadable("encrypted")
    try:
        with archive.open(member) as stream:
            return stream.read(member.file_size)  # no more than it claims, whatever it would unpack to
    except Exception as error:
        # zipfile and the decompressors each raise several kinds for damaged members.
        raise Unreadable(reason(error)) from error


def tar_members(path: Path) -> tuple[dict[str, Slice], Fetch]:
    """Where the members of a tar archive lie, by name, and what gives their bytes. Raises DataError.

    It may be compressed by gzip. Hard links lead to the member they name; other links and sparse files cannot
    be read. `Fetch` is safe in threads and raises `Unreadable`.
    """
    found: dict[str, Slice] = {}
    try:
        packed = Gzip(path) if is_gzip(path) else None
        size = path.stat().st_size if packed is None else None
        with regular(path) as file:
            for member in _headers(packed or file):
                found[member.name + "/" * member.isdir()] = _slice(member, size, found)
        if packed is not None:
            packed.finish()
    except OSError as error:
        raise DataError(f"{path}: {reason(error).lower()}") from error
    except _DAMAGED as error:
        if (program := _packed_by(path)) is not None:
            raise DataError(
                f"{path}: is compressed in a way that cannot be read in place; unpack it to a .tar first "
                f"({program} -dk)"
            ) from None
        raise DataError(f"{path}: no readable tar archive ({reason(error)}); is it whole?") from error
    return found, partial(_slice_bytes, partial(_read, path) if packed is None else packed.at)


def first_names(path: Path, count: int) -> list[str]:
    """Names of a tar archive's first members; none where it is no such archive."""
    try:
        with regular(path) as file:
            opened = Gzip(path) if is_gzip(path) else file
            return [member.name for member in itertools.islice(_headers(opened), count)]
    except (OSError, *_DAMAGED):
        return []


def _headers(file: _Seekable) -> Iterator[tarfile.TarInfo]:
    """Each member of a tar archive; an archive that breaks off or is damaged on the way is an error."""
    with tarfile.open(fileobj=cast("IO[bytes]", _Short(file)), mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # kept for look-ups that are not made here
            yield member
        # What is no header ends an archive for tarfile, as zeros do, which alone are meant to.
        file.seek(archive.offset)
        if file.read(_BLOCK).strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {archive.offset}")


@dataclass(frozen=True)
class _Short:
    """A file of which no read is long: a header that claims to be gigabytes is damaged."""

    file: _Seekable

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise ValueError("a header beyond reason")
        return self.file.read(size)

    def seek(self, place: int) -> int:
        return self.file.seek(place)

    def tell(self) -> int:
        return self.file.tell()


def _slice_bytes(read: Callable[[int, int], bytes], member: Slice) -> bytes:
    if isinstance(member, str):
        raise Unreadable(member)
    offset, size = member
    check_size(size)
    try:
        data = read(offset, size)
    except (OSError, *_DAMAGED) as error:
        raise Unreadable(reason(error)) from error
    if len(data) < size:
        raise Unreadable("the archive ends within it")
    return data


def _read(path: Path, offset: int, size: int) -> bytes:
    with regular(path) as file:
        file.seek(offset)
        return file.read(size)


def _slice(member: tarfile.TarInfo, end: int | None, found: Mapping[str, Slice]) -> Slice:
    if member.islnk():
        return found.get(member.linkname, "a link to what the archive does not hold")
    if member.issym():
        return "a symbolic link, which is not followed in an archive"
    if not member.isreg():
        return "not a regular file"
    if member.sparse is not None:
        return "a sparse file"
    if end is not None and member.offset_data + member.size > end:
        return "the archive ends within it"
    return member.offset_data, member.size


def _packed_by(path: Path) -> str | None:
    """The program that compressed a file, of those whose streams can be read from the start alone."""
    with regular(path) as file:
        start = file.read(6)
    return next((name for name, magic in _STREAMS.items() if start.startswith(magic)), None)
