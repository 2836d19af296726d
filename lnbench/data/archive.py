"""Archives of class folders, read in place: members are listed by name, nothing is written to disk.

What a stranger's archive may hold is bounded: names that point elsewhere are refused, links and huge
members are images that cannot be read, and no member is larger than what it is read as.
"""

from __future__ import annotations

import itertools
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar, cast

from lnbench.data.decode import Unreadable
from lnbench.data.encoded import check_size, list_encoded
from lnbench.data.store import Listing, file_stamp
from lnbench.data.tree import arrange, normal, shown
from lnbench.errors import DataError
from lnbench.files import one_line, reason, regular

Member = TypeVar("Member")
Slice = tuple[int, int] | str  # where a member's bytes lie, (offset, size); or why they cannot be read

_BLOCK = 512
_MAX_HEADER = 1 << 20  # bytes; a name and some times take less than one thousand


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


def tar_members(path: Path) -> dict[str, Slice]:
    """Where the members of an uncompressed tar archive lie, by name. Raises DataError.

    Hard links lead to the member they name; other links and sparse files cannot be read.
    """
    found: dict[str, Slice] = {}
    try:
        with regular(path) as file:
            size = path.stat().st_size
            for member in _headers(file):
                found[member.name + "/" * member.isdir()] = _slice(member, size, found)
    except OSError as error:
        raise DataError(f"{path}: {reason(error).lower()}") from error
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        if _compressed(path):
            raise DataError(
                f"{path}: a compressed tar archive cannot be read in place; decompress it to a .tar first"
            ) from None
        raise DataError(f"{path}: no readable tar archive ({reason(error)}); is it whole?") from error
    return found


def first_names(path: Path, count: int) -> list[str]:
    """Names of a tar archive's first members; none where it is no such archive."""
    try:
        with regular(path) as file:
            return [member.name for member in itertools.islice(_headers(file), count)]
    except (OSError, tarfile.TarError, ValueError, EOFError, RecursionError):
        return []


def _headers(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
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

    file: IO[bytes]

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise ValueError("a header beyond reason")
        return self.file.read(size)

    def seek(self, place: int) -> int:
        return self.file.seek(place)

    def tell(self) -> int:
        return self.file.tell()


def slice_bytes(path: Path, member: Slice) -> bytes:
    """The bytes of a tar archive's member; safe in threads. Raises `Unreadable`."""
    if isinstance(member, str):
        raise Unreadable(member)
    offset, size = member
    check_size(size)
    try:
        with regular(path) as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise Unreadable(reason(error)) from error
    if len(data) < size:
        raise Unreadable("the archive ends within it")
    return data


def _slice(member: tarfile.TarInfo, end: int, found: Mapping[str, Slice]) -> Slice:
    if member.islnk():
        return found.get(member.linkname, "a link to what the archive does not hold")
    if member.issym():
        return "a symbolic link, which is not followed in an archive"
    if not member.isreg():
        return "not a regular file"
    if member.sparse is not None:
        return "a sparse file"
    if member.offset_data + member.size > end:
        return "the archive ends within it"
    return member.offset_data, member.size


def _compressed(path: Path) -> bool:
    with regular(path) as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"))
