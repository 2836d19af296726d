"""Datasets of encoded image files, wherever their bytes lie: listed with a function that fetches them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from lnbench.data.decode import Unreadable
from lnbench.data.decode import as_it_lies as decode
from lnbench.data.store import Listing
from lnbench.hashing import Indices

MAX_BYTES = 1 << 29  # no photograph's file is larger


def list_encoded(
    fetch: Callable[[int], bytes],
    *,
    source: str,
    classes: Sequence[str],
    labels: Sequence[int] | Indices,
    name: Callable[[int], str],
    stamp: str,
    named: bool = True,
    part: str = "",
    left_out: Mapping[str, int] = {},
) -> Listing:
    """List images by a function that gives the bytes of one, or raises `Unreadable`; called from threads."""
    return Listing(
        source=source,
        classes=tuple(classes),
        labels=np.array(labels, np.int64),
        stamp=stamp,
        name=name,
        read=lambda index: picture(fetch(index)),
        digest=lambda index: hashlib.sha256(fetch(index)).digest(),
        named=named,
        part=part,
        left_out=tuple(sorted(left_out.items())),
    )


def picture(data: bytes) -> tuple[Image.Image, bytes]:
    """Decode one file's bytes, the picture as it lies in the file; also their sha256. Raises `Unreadable`."""
    return decode(data), hashlib.sha256(data).digest()


def check_size(size: int) -> None:
    """Raise `Unreadable` for a file that no photograph fills."""
    if size > MAX_BYTES:
        raise Unreadable(f"a file of {size / 2**20:.0f} MiB is no photograph")
