"""File names made from the names of strangers: they stay in their folder and keep their order."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)
_LONGEST = 120  # bytes; file systems end at 255 and suffixes come on top


def safe_name(text: str) -> str:
    """A file name for `text` that no system refuses, that names no device and no other folder.

    Separators, control characters and what Windows forbids become "_"; names that would be hidden or
    reserved get a leading "_"; long ones end in a hash. Different texts may come out equal.
    """
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text)).rstrip(". ").lstrip()
    if not name or name.startswith(".") or _RESERVED.match(name):
        name = f"_{name}"
    if len(name.encode()) > _LONGEST:
        short = name.encode()[: _LONGEST - 9].decode(errors="ignore")
        name = f"{short}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def ordered_names(texts: Sequence[str], suffix: str = "") -> list[str]:
    """File names whose alphabetical order is the order of `texts`, all different.

    The order of the names is what a reader derives labels and ids from. Where safe names would
    change it or meet (also on file systems that ignore case), all get a number in front.
    """
    names = [safe_name(text) + suffix for text in texts]
    if names == sorted(names) and len({name.casefold() for name in names}) == len(names):
        return names
    width = len(str(len(names)))
    return [f"{number:0{width}d}_{name}" for number, name in enumerate(names)]


def is_number(name: str) -> bool:
    """Whether a class is called by a whole number: `7`, `007`."""
    return name.isascii() and name.isdecimal() and len(name) <= 9
