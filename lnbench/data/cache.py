"""A store in one file, read where asked for: found again by its key, verified to the last byte, else rebuilt.

Layout: a header of 4,096 bytes (magic, place, length and sha256 of the footer), the pixels as
uint8 (N, 3, H, W), the footer (JSON: labels, ids, names, content digests, a checksum for each block of
pixels). The header is written last and the file renamed into place, so an interrupted build leaves
nothing that could be mistaken for a cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from lnbench.data.batches import spans
from lnbench.data.decode import Unreadable
from lnbench.data.rows import FileRows
from lnbench.data.store import Listing, Pixels, Store, Tally, fingerprint
from lnbench.errors import DataError
from lnbench.files import atomic, lock, reason, regular
from lnbench.types import Geometry

_MAGIC = b"lnstore1"
_HEADER = struct.Struct("<8sQQ32s")  # magic, offset and length of the footer, sha256 of the footer
_PIXELS_AT = 4096
_BLOCK = 1 << 23  # bytes of pixels under one checksum
_FILES = 64  # images whose files are compared in one task


def cache_path(folder: Path, listing: Listing, geometry: Geometry, limit: int | None, seed: int) -> Path:
    """Where the store of this listing lies, or would lie, inside the cache folder."""
    chosen = None if limit is None else [limit, seed]  # the seed only draws the subset
    key = json.dumps([listing.stamp, listing.classes, asdict(geometry), chosen, listing.upright])
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lnstore"


def load(
    path: Path, listing: Listing, geometry: Geometry, workers: int, *, trusted: bool = False
) -> Store | None:
    """Open a cached store, or None where there is none or it is damaged, cut short or of another kind.

    Unless `trusted`, as just made, the images' files are read and must be those that it was made from, to
    the last byte: names, sizes and times can be those of others.
    """
    try:
        with regular(path) as file:
            magic, offset, length, digest = _HEADER.unpack(file.read(_HEADER.size))
            if magic != _MAGIC or offset + length != os.fstat(file.fileno()).st_size:
                return None
            file.seek(offset)
            footer = file.read(length)
        if hashlib.sha256(footer).digest() != digest:
            return None
        content = json.loads(footer)
        if not trusted and not _current(content, listing, workers):
            return None
        return _opened(path, content, listing, geometry, workers)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _opened(
    path: Path, footer: dict[str, Any], listing: Listing, geometry: Geometry, workers: int
) -> Store | None:
    if not _intact(path, math.prod(footer["shape"]), footer["checksums"], workers):
        return None
    images = cast(Pixels, FileRows(path, _PIXELS_AT, tuple(footer["shape"]), np.uint8))
    labels = np.array(footer["labels"], np.int64)
    ids = np.array(footer["ids"], np.int64)
    digests = [bytes.fromhex(digest) for digest in footer["digests"]]
    turned = int(footer["turned"])
    content = fingerprint(geometry, listing.classes, labels, ids, digests, 0 if listing.upright else turned)
    if content != footer["fingerprint"] or not np.array_equal(labels, listing.labels[ids]):
        return None
    return Store(
        images=images,
        labels=labels,
        ids=ids,
        classes=listing.classes,
        fingerprint=content,
        source=listing.source,
        skipped=tuple((name, reason) for name, reason in footer["skipped"]),
        total=len(listing.labels),
        names=tuple(footer["names"]),
        named=listing.named,
        occurring=tuple(np.unique(listing.labels).tolist()),
        part=listing.part,
        turned=turned,
        left_out=listing.left_out,
    )


def _current(footer: dict[str, Any], listing: Listing, workers: int) -> bool:
    """Whether the files still hold what the store was made from, and no more than it could read."""

    def same(part: tuple[int, int]) -> bool:
        try:
            return all(
                listing.digest(index).hex() == digest
                for index, digest in zip(
                    footer["ids"][slice(*part)], footer["digests"][slice(*part)], strict=True
                )
            )
        except Unreadable:
            return False

    def unreadable(index: int) -> bool:
        try:
            listing.read(index)
        except Unreadable:
            return True
        return False

    skipped = {name for name, _ in footer["skipped"]}
    left_out = [i for i in range(len(listing.labels)) if listing.name(i) in skipped] if skipped else []
    with ThreadPoolExecutor(workers) as pool:  # reading and sha256 release the interpreter lock
        parts = spans(len(footer["ids"]), _FILES)
        return all(pool.map(same, parts)) and all(pool.map(unreadable, left_out))


def _intact(path: Path, size: int, checksums: list[int], workers: int) -> bool:
    def checksum(span: tuple[int, int]) -> int:
        with regular(path) as file:
            file.seek(_PIXELS_AT + span[0])
            return zlib.crc32(file.read(span[1] - span[0]))

    with ThreadPoolExecutor(workers) as pool:  # reading and crc32 release the interpreter lock
        return checksums == list(pool.map(checksum, spans(size, _BLOCK)))


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Hold the right to build `path`: another process that wants the same cache waits until it is there."""
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(path.with_suffix(".lock"), wait=True))
        except OSError as error:
            raise DataError(
                f"{path.parent}: the cache cannot be written: {reason(error)}; choose another folder"
            ) from error
        yield


def save(path: Path, images: Iterable[Pixels], tally: Tally, listing: Listing, geometry: Geometry) -> None:
    """Write the store of `images`, uint8 (3, H, W) each, one at a time; memory stays small.

    `tally` is filled while `images` is consumed. Raises DataError when the file cannot be written.
    """
    with atomic(path, DataError, flush=False) as file:
        _write(file, images, tally, listing, geometry)


def _write(
    file: IO[bytes], images: Iterable[Pixels], tally: Tally, listing: Listing, geometry: Geometry
) -> None:
    file.write(bytes(_PIXELS_AT))
    checksums: list[int] = []
    filled, shape = _BLOCK, (0, 0, 0)
    for image in images:
        shape = image.shape
        data = np.ascontiguousarray(image).reshape(-1).data
        file.write(data)
        while data:
            if filled == _BLOCK:
                checksums.append(0)
                filled = 0
            part = data[: _BLOCK - filled]
            checksums[-1] = zlib.crc32(part, checksums[-1])
            filled += len(part)
            data = data[len(part) :]
    labels, ids = listing.labels[tally.ids], np.array(tally.ids, np.int64)
    footer = json.dumps(
        {
            "shape": [len(ids), *shape],
            "checksums": checksums,
            "labels": labels.tolist(),
            "ids": tally.ids,
            "names": [listing.name(index) for index in tally.ids],
            "skipped": tally.skipped,
            "turned": tally.turned,
            "digests": [digest.hex() for digest in tally.digests],
            "fingerprint": fingerprint(
                geometry, listing.classes, labels, ids, tally.digests, 0 if listing.upright else tally.turned
            ),
        }
    ).encode()
    offset = file.tell()
    file.write(footer)
    file.seek(0)
    file.write(_HEADER.pack(_MAGIC, offset, len(footer), hashlib.sha256(footer).digest()))
