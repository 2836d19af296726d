"""What a weights file really is, told from its first bytes before anything parses it.

Most "corrupt checkpoint" reports are one of a few things: a web page saved under a weights name, a Git LFS
pointer, a download that stopped early, or an archive that was never unpacked. Each is named here. No torch.
"""

from __future__ import annotations

import codecs
import difflib
import json
import stat
import zipfile
from pathlib import Path
from typing import Literal

from lnbench.errors import CheckpointError
from lnbench.files import one_line, opened, regular

Format = Literal["zip", "legacy", "safetensors"]

SUFFIXES = (".pth", ".pt", ".th", ".tar", ".ckpt", ".safetensors")
# The safetensors specification bounds its JSON header at 100 MB.
HEADER_LIMIT = 100_000_000
# torch.save's old format opens with this number as a pickled long (torch.serialization.MAGIC_NUMBER).
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
ARCHIVES = {
    b"\x1f\x8b": "gzip-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ\x00": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstandard-compressed",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
}
FOREIGN = {
    b"\x89HDF\r\n": "an HDF5 file (Keras)",
    b"\x93NUMPY": "a NumPy array",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"GGUF": "a GGUF language model",
}


def size_text(count: int) -> str:
    """A byte count for people: `2.4 MB`."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def identify(path: Path) -> Format:
    """Name the format of the file at `path` by its content, whatever its suffix.

    Raises CheckpointError, in one line, for anything that is not a whole-looking PyTorch or safetensors file.
    """
    size = regular_size(path)
    with opened(path, CheckpointError) as file:
        head = file.read(1024)
    if not head:
        raise CheckpointError(f"{path} is empty: download or copy it again")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        check_zip(path, size)
        return "zip"
    if head[0] == 0x80 and LEGACY_MAGIC in head[:32]:
        return "legacy"
    refuse_disguise(path, head, size)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        check_safetensors(path, head, size)
        return "safetensors"
    raise CheckpointError(f"{path} is {guess(head)}, not a PyTorch or safetensors file")


def regular_size(path: Path) -> int:
    """Size in bytes of the regular file at `path`; CheckpointError for folders, devices, missing files."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file" + near_files(path)
        raise CheckpointError(f"{path} cannot be read: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise CheckpointError(f"{path} is a folder: give the weights file itself{inside(path)}")
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is a device or pipe, not a file of weights")
    return status.st_size


def near_files(path: Path) -> str:
    """The end of a sentence on a file that is not there: names like it, or that its folder is missing."""
    if not path.parent.is_dir():
        return f", and no folder {path.parent}"
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in SUFFIXES]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def inside(folder: Path) -> str:
    """The end of a sentence on a folder given for a file: a weights file in it, if any."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES)
    except OSError:
        return ""
    return f", e.g. {folder / names[0]}" if names else ""


def refuse_disguise(path: Path, head: bytes, size: int) -> None:
    """Raise for the files that commonly sit where weights should be."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"version https://git-lfs"):
        wanted = next((line[5:] for line in head.splitlines() if line.startswith(b"size ")), b"")
        whole = f" of {size_text(int(wanted))}" if wanted.isdigit() and len(wanted) < 20 else ""
        raise CheckpointError(
            f"{path} is a Git LFS pointer of {size} bytes, not the file{whole}: run `git lfs pull`"
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise CheckpointError(f"{path} is an HTML page, not weights: fetch the file's direct link")
    for magic, name in ARCHIVES.items():
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {name}: unpack it and give the file inside")
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{path} is a tar archive: unpack it and give the weights file inside")


def guess(head: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            return name
    if not head.strip(b"\x00"):
        return "a file of zero bytes (an unfinished download?)"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return "a plain Python pickle (not written by torch.save)"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head[:200])  # may end within a character
    except UnicodeDecodeError:
        text = "\x00"
    if all(c.isprintable() or c in "\t\r\n" for c in text):
        return f"a text file (it begins '{one_line(text, 30)}')"
    return f"of an unknown format (first bytes {head[:4].hex(' ')})"


def check_zip(path: Path, size: int) -> None:
    """Refuse a zip that is cut short, compressed (a bomb: torch.save only stores) or not torch.save's."""
    try:
        with regular(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            comment = archive.comment
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError):
        raise CheckpointError(
            f"{path} is a truncated or damaged zip file of {size_text(size)} (the directory at its end is "
            "missing): download or copy it again"
        ) from None
    names = [member.filename for member in members]
    if any(name.endswith("constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript program: save the network's state_dict() with torch.save instead"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        holds = f"it holds {one_line(names[0], 40)}" if names else "it is empty"
        raise CheckpointError(
            f"{path} is a zip archive that torch.save did not write ({holds}): unpack it first"
        )
    compressed = any(member.compress_type for member in members)
    if comment or compressed or sum(member.file_size for member in members) > size:
        raise CheckpointError(
            f"{path} is a zip of {size_text(size)} that is compressed or claims more than it has, which "
            "torch.save never writes: save the weights again with torch.save"
        )


def check_safetensors(path: Path, head: bytes, size: int) -> None:
    """Refuse a safetensors file whose header length, JSON or extent cannot be right."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or head[8:9] != b"{":
        raise CheckpointError(f"{path} is no safetensors file ({guess(head)})")
    if length > HEADER_LIMIT or length > size - 8:
        raise CheckpointError(
            f"{path} is a truncated or damaged safetensors file: its header claims {size_text(length)}, "
            f"the file has {size_text(size)}"
        )
    with opened(path, CheckpointError) as file:
        file.seek(8)
        raw = file.read(length)
    try:
        header = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        end = max(ends, default=0)
        whole = isinstance(end, int) and end == size - 8 - length
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError):
        raise CheckpointError(f"{path} is a damaged safetensors file: its header is not readable") from None
    if not whole:
        raise CheckpointError(
            f"{path} is a truncated or damaged safetensors file: the header describes "
            f"{size_text(end) if isinstance(end, int) else 'no extent'} of weights, the file holds "
            f"{size_text(size - 8 - length)}"
        )
