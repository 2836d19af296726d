"""`.npz` files with `images` and `labels`, as numpy.savez writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lnbench.data.registry import source
from lnbench.errors import DataError
from lnbench.files import one_line, printable, reason, regular
from lnbench.lazy import np

if TYPE_CHECKING:
    import zipfile

    import numpy.typing as npt

    from lnbench.data.store import Listing

_MAX_RATIO = 200  # photographs shrink by 2 at best, flat drawings by 50; zip bombs by 1000


def looks(path: Path) -> bool:
    """Whether a file is an npz by its name."""
    return path.suffix.lower() == ".npz" and not path.is_dir()


@source(
    "npz",
    about="an npz file of images and labels",
    layout="images: uint8 (N, H, W, 3); labels: integers (N,); classes, if they have names",
    looks=looks,
)
def npz(path: Path) -> Listing:
    """List an `.npz` with keys `images` uint8 (N, H, W, 3) and `labels` integer (N,).

    An optional key `classes`, strings (classes,), names the classes. Nothing is unpickled. Raises
    DataError for anything else.
    """
    from lnbench.data.arrays import describe, list_arrays
    from lnbench.data.store import file_stamp

    arrays = _read_npz(path)
    for key in ("images", "labels"):
        if key not in arrays:
            raise DataError(
                f"{path}: no array '{key}' among {_some(arrays)}; an npz dataset has the keys 'images',"
                f" uint8 (N, H, W, 3), and 'labels', integers (N,)"
            )
    names = arrays.get("classes")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise DataError(f"{path}: 'classes' must be a list of strings, not {describe(names)}")
    return list_arrays(
        arrays["images"],
        arrays["labels"],
        source=f"npz:{path}",
        classes=None if names is None else tuple(printable(str(name)) for name in names),
        stamp=file_stamp([path]),
    )


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    import zipfile

    wanted = ("images", "labels", "classes")
    try:
        with regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {key: _read_member(archive, members[key], path) for key in wanted if key in members}
            return found or dict.fromkeys(members, np.zeros(0))
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory; take a part of it") from error
    except Exception as error:
        # zipfile, zlib and numpy.lib.format each raise several kinds for a damaged file.
        raise DataError(
            f"{path}: not a readable npz file ({reason(error)}); write it with numpy.savez"
        ) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> npt.NDArray[Any]:
    """One array, after its declared shape has been held against the size and the memory there is."""
    import zipfile

    from lnbench.data import arrays
    from lnbench.data.rows import FileRows

    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, columns_first, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise DataError(
                f"{path}: array '{one_line(member.filename)}' has an unknown npy version {version}"
            )
        header = stream.tell()
    if dtype.hasobject:
        raise DataError(
            f"{path}: array '{one_line(member.filename)}' holds Python objects, which are not read"
        )
    size = dtype.itemsize
    for side in shape:
        size *= int(side)
    if size < 0 or header + size != member.file_size:
        raise DataError(
            f"{path}: array '{one_line(member.filename)}' claims shape {shape}, but is not of that length"
        )
    if size > arrays.LARGE and size > _MAX_RATIO * member.compress_size:
        raise DataError(
            f"{path}: array '{one_line(member.filename)}' looks like a zip bomb ({size / 2**30:.1f} GiB)"
        )
    if size > arrays.LARGE and member.compress_type == zipfile.ZIP_STORED and not columns_first:
        offset = _start(path, member) + header
        return cast("npt.NDArray[Any]", FileRows(path, offset, shape, dtype))
    arrays.check_memory(
        size, str(path), "write it with numpy.savez, which is read in place, or take a part of it"
    )
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header of 30 bytes, a name and an extra field."""
    import struct

    with regular(path) as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name) + int(extra)


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(ascii(name) for name in listed[:6]) + (", …" if len(listed) > 6 else "") or "none"
