"""From a spec to a store: choose the images, decode each once in parallel, keep or cache them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from lnbench.data import cache as caching
from lnbench.data.arrays import LARGE, check_memory, row_digest
from lnbench.data.batches import spans, subset
from lnbench.data.decode import Unreadable, orientation, ready, turned_upright
from lnbench.data.geometry import UNCHANGED, fit
from lnbench.data.specs import DataSpec, listing
from lnbench.data.store import Decoding, Listing, Pixels, Store, Tally, check_side, fingerprint
from lnbench.errors import DataError, UsageError
from lnbench.hashing import Indices
from lnbench.types import Condition, Geometry

Progress = Callable[[int, int], None]

_TASK = 8  # images in one task of the pool: small enough to balance, large enough to be worth a hand-over
_ROWS = 1024  # rows of an array copied at a time


def open_store(spec: DataSpec, decoding: Decoding, condition: Condition | None = None) -> Store:
    """Decode a dataset, or one condition of a precomputed one, into a store at the network's resolution.

    Ids and subsets agree between conditions. Raises DataError, in one line, for data that cannot be read.
    """
    return open_listing(listing(spec, condition), decoding)


def open_listing(listing: Listing, decoding: Decoding) -> Store:
    """Decode a listing into a store, in memory or in a file.

    Raises DataError for unreadable images (unless skipped), for images that are too small or differ in
    size, and when memory or disk do not suffice.
    """
    geometry, limit, seed = decoding.geometry, decoding.limit, decoding.seed
    cache, cache_above, on_progress = decoding.cache, decoding.cache_above, decoding.on_progress
    listing = replace(listing, upright=decoding.upright)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least one image is needed")
    total = len(listing.labels)
    ids = np.arange(total, dtype=np.int64) if limit is None else subset(listing.labels, limit, seed)
    rows = listing.rows if geometry == UNCHANGED else None
    unbounded = cache is None or not cache_above
    if rows is not None and (unbounded or len(ids) * rows[0].size <= max(cache_above, LARGE)):
        return _copied(listing, rows, ids, on_progress)  # nothing to decode, nothing worth a file
    if cache is None or (cache_above and _size(listing, ids, geometry) <= cache_above):
        store = _in_memory(listing, ids, geometry, on_progress)
    else:
        path = caching.cache_path(cache, listing, geometry, limit, seed)
        store = _cached(path, listing, ids, geometry, on_progress)
    if store.skipped and not decoding.skip_unreadable:
        raise _unreadable(store)
    if not len(store.ids):
        raise DataError(f"{listing.source}: none of {len(ids)} images can be read")
    return store


def size(listing: Listing) -> tuple[int, int] | None:
    """(height, width) of the first picture that can be read, of the first few; None where none can."""
    for index in range(min(_TASK, len(listing.labels))):
        with suppress(Unreadable), ready():
            picture, _ = listing.read(index)
            return picture.height, picture.width
    return None


def cpus() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(listing: Listing, ids: Indices, geometry: Geometry) -> int:
    """Bytes of the decoded images, judged by the first that can be read."""
    for index in ids.tolist():
        _, image, *_ = _decode(listing, index, geometry)
        if image is not None:
            return len(ids) * image.size
    return 0


def _copied(listing: Listing, rows: Pixels, ids: Indices, on_progress: Progress | None) -> Store:
    """Arrays at their own size: transposed to (N, 3, H, W), otherwise untouched."""
    height, width = rows.shape[1:3]
    check_side(height, width, listing.source)
    check_memory(len(ids) * 3 * height * width, listing.source, "use --limit")
    images = np.empty((len(ids), 3, height, width), np.uint8)
    digests: list[bytes] = []
    for start, stop in spans(len(ids), _ROWS):
        block = np.ascontiguousarray(rows[ids[start:stop]])
        images[start:stop] = block.transpose(0, 3, 1, 2)
        digests.extend(row_digest(row) for row in block)
        if on_progress:
            on_progress(stop, len(ids))
    return _store(listing, geometry=UNCHANGED, images=images, tally=Tally(ids.tolist(), digests))


def _in_memory(listing: Listing, ids: Indices, geometry: Geometry, on_progress: Progress | None) -> Store:
    tally = Tally()
    images = np.empty((0, 3, 0, 0), np.uint8)
    count = 0
    for image in _images(listing, ids, geometry, tally, on_progress):
        if not count:
            check_memory(len(ids) * image.size, listing.source, "use --cache DIR, which needs little")
            images = np.empty((len(ids), *image.shape), np.uint8)
        images[count] = image
        count += 1
    return _store(listing, geometry, images[:count], tally)


def _cached(
    path: Path, listing: Listing, ids: Indices, geometry: Geometry, on_progress: Progress | None
) -> Store:
    store = caching.load(path, listing, geometry, cpus())
    if store is None:
        with caching.building(path):
            # Another process may have built it meanwhile.
            store = caching.load(path, listing, geometry, cpus())
            if store is None:
                tally = Tally()
                images = _images(listing, ids, geometry, tally, on_progress)
                caching.save(path, images, tally, listing, geometry)
                store = caching.load(path, listing, geometry, cpus(), trusted=True)
    if store is None:
        raise DataError(f"{path}: the cache cannot be read back; is the disk sound?")
    return store


def _store(listing: Listing, geometry: Geometry, images: Pixels, tally: Tally) -> Store:
    ids = np.array(tally.ids, np.int64)
    labels = listing.labels[ids]
    return Store(
        images=images,
        labels=labels,
        ids=ids,
        classes=listing.classes,
        fingerprint=fingerprint(
            geometry, listing.classes, labels, ids, tally.digests, 0 if listing.upright else tally.turned
        ),
        source=listing.source,
        skipped=tuple(tally.skipped),
        total=len(listing.labels),
        names=tuple(listing.name(index) for index in tally.ids),
        named=listing.named,
        occurring=tuple(np.unique(listing.labels).tolist()),
        part=listing.part,
        turned=tally.turned,
        left_out=listing.left_out,
    )


def _images(
    listing: Listing, ids: Indices, geometry: Geometry, tally: Tally, on_progress: Progress | None
) -> Iterator[Pixels]:
    """Yield each readable image, uint8 (3, H, W), in order; notes ids, digests and failures in `tally`."""
    first: tuple[int, ...] | None = None
    for done, (index, image, digest, reason, turned) in enumerate(_decoded(listing, ids, geometry), 1):
        if image is None:
            tally.skipped.append((listing.name(index), reason))
        else:
            if first is None:
                first = image.shape
                check_side(image.shape[1], image.shape[2], listing.source)
            if image.shape != first:
                raise DataError(
                    f"{listing.source}: images differ in size ({listing.name(tally.ids[0])} has"
                    f" {first[1]}×{first[2]}, {listing.name(index)} {image.shape[1]}×{image.shape[2]} px);"
                    f" give --resize and --crop"
                )
            tally.ids.append(index)
            tally.digests.append(digest)
            tally.turned += turned
            yield image
        if on_progress:
            on_progress(done, len(ids))


# Index, pixels or None, digest, why there are none, whether EXIF has it turned.
_Result = tuple[int, Pixels | None, bytes, str, bool]


def _decoded(listing: Listing, ids: Indices, geometry: Geometry) -> Iterator[_Result]:
    """Decode in threads (Pillow releases the interpreter lock) and hand over in order, a few at a time."""

    def task(indices: list[int]) -> list[_Result]:
        return [_decode(listing, index, geometry) for index in indices]

    workers = cpus()
    waiting: deque[Future[list[_Result]]] = deque()
    with ready():
        pool = ThreadPoolExecutor(workers)
        try:
            for start, stop in spans(len(ids), _TASK):
                waiting.append(pool.submit(task, ids[start:stop].tolist()))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(listing: Listing, index: int, geometry: Geometry) -> _Result:
    try:
        picture, digest = listing.read(index)
        turned = orientation(picture) != 1
        pixels = np.asarray(fit(turned_upright(picture) if listing.upright else picture, geometry))
    except Unreadable as error:
        return index, None, b"", str(error), False
    return index, np.ascontiguousarray(pixels.transpose(2, 0, 1)), digest, "", turned


def _unreadable(store: Store) -> DataError:
    shown = "; ".join(f"{name}: {reason}" for name, reason in store.skipped[:3])
    more = f"; and {len(store.skipped) - 3} more" if len(store.skipped) > 3 else ""
    count = len(store.skipped)
    return DataError(
        f"{store.source}: {count} image{'s' if count > 1 else ''} cannot be read ({shown}{more});"
        f" leave them out with --skip-unreadable"
    )
