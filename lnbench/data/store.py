"""A dataset before it is decoded (Listing), how it is to be (Decoding), and after (Store)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from lnbench.errors import DataError
from lnbench.hashing import Indices
from lnbench.types import Geometry

if TYPE_CHECKING:
    from torch import Tensor

Pixels = npt.NDArray[np.uint8]

MIN_SIDE = 32  # the smallest side the corruptions are defined for


class Supply(Protocol):
    """Brings images of a store to a device; told of those that are wanted next."""

    place: str

    def take(self, positions: Indices) -> Tensor: ...

    def expect(self, positions: Indices) -> None: ...


@dataclass(frozen=True)
class Store:
    """Decoded images at the network's resolution, in memory or in a file (`rows.FileRows`).

    `images`: uint8 (N, 3, H, W), RGB; `labels`: int64 (N,), index into `classes`; `ids`: int64 (N,),
    index in the whole dataset, so that a subset keeps its noise.
    `named`: whether the source names its classes. Where it does not, `classes` are the numerals up to
    the largest label seen, and the true number of classes may be larger.
    `fingerprint`: sha256 (hex) over content, ids, labels, classes and geometry, equal across machines.
    `names`: path inside the dataset, or running number, of each image. `occurring`: the labels that images of
    the whole dataset have. `skipped`: (name, reason) of
    each image that could not be read. `total`: images in the whole dataset, before any limit.
    `part`: the split that was taken where a place holds several and none was named, or "". `turned`: images
    with an EXIF orientation. `left_out`: files that are no images, (suffix, how many). `supply`: who brings
    the images to a GPU.
    """

    images: Pixels
    labels: Indices
    ids: Indices
    classes: tuple[str, ...]
    fingerprint: str
    source: str
    skipped: tuple[tuple[str, str], ...]
    total: int
    names: tuple[str, ...]
    named: bool = True
    part: str = ""
    occurring: tuple[int, ...] = ()
    turned: int = 0
    left_out: tuple[tuple[str, int], ...] = ()
    supply: Supply | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str:
        """Where the images are taken from: `device`, `host` or `file`."""
        if self.supply is not None and self.supply.place == "device":
            return "device"
        return "host" if type(self.images) is np.ndarray else "file"

    @property
    def labelled(self) -> bool:
        """Whether anyone said what the images show; without, there are no classes and all labels are 0."""
        return bool(self.classes)


@dataclass(frozen=True)
class Listing:
    """A dataset that has been listed but not decoded.

    `labels`: int64 (total,). `read(index)` gives the picture and the sha256 of the bytes it comes
    from, or raises `Unreadable`; it is called from several threads, as is `digest(index)`, which gives
    that sha256 without decoding. `stamp` changes when the files seem to have changed (names, sizes, times),
    without reading them. `rows`, where the pixels are an array already: uint8 (total, H, W, 3). `upright`:
    whether pictures are turned as their EXIF orientation says. `part`, `left_out`: see `Store`.
    """

    source: str
    classes: tuple[str, ...]
    labels: Indices
    stamp: str
    name: Callable[[int], str]
    read: Callable[[int], tuple[Image.Image, bytes]]
    digest: Callable[[int], bytes]
    rows: Pixels | None = None
    named: bool = True
    part: str = ""
    upright: bool = False
    left_out: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Decoding:
    """How a listing becomes a store.

    With `Geometry()` arrays keep their size, and the images of a folder must all have one size. `limit`
    takes a class-balanced subset drawn with `seed`. Given a folder `cache`, stores of more than `cache_above`
    bytes lie in a file there, and are found again. `upright` turns pictures as their EXIF orientation says;
    torchvision and timm ignore it, and published figures rest on that. Images that cannot be read are an
    error unless `skip_unreadable`. `on_progress(done, total)` is called as images are decoded.
    """

    geometry: Geometry = field(default_factory=Geometry)
    limit: int | None = None
    seed: int = 0
    cache: Path | None = None
    cache_above: int = 0
    skip_unreadable: bool = False
    upright: bool = False
    on_progress: Callable[[int, int], None] | None = None


class _Rows:
    """Some images of an array, uint8 (n, 3, H, W), by numbers of their own; read when asked for."""

    def __init__(self, images: Pixels, positions: Indices) -> None:
        self._images, self._positions = images, positions
        self.shape = (len(positions), *images.shape[1:])
        self.nbytes = 0

    def __getitem__(self, index: Any) -> Pixels:
        found: Pixels = self._images[self._positions[index]]
        return found


def part_of(store: Store, positions: Indices) -> Store:
    """The images at `positions`, int64 (n,), as a store of their own; ids stay, nothing is copied."""
    return replace(
        store,
        images=cast(Pixels, _Rows(store.images, positions)),
        labels=store.labels[positions],
        ids=store.ids[positions],
        supply=None,
        names=tuple(store.names[position] for position in positions.tolist()),
    )


@dataclass
class Tally:
    """What is learnt while images are read, in the order of the images that could be read."""

    ids: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    turned: int = 0


def file_stamp(paths: Iterable[Path]) -> str:
    """Sha256 (hex) of the absolute names, sizes and modification times of files that exist."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(
            f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "replace")
        )
    return digest.hexdigest()


def fingerprint(
    geometry: Geometry,
    classes: Sequence[str],
    labels: Indices,
    ids: Indices,
    digests: Sequence[bytes],
    lying: int = 0,
) -> str:
    """Sha256 (hex) that two machines agree on when they hold the same images and labels.

    `lying`: images whose EXIF orientation was ignored: as pixels they are others than upright.
    """
    head = json.dumps(["lnbench-store-1", asdict(geometry), list(classes)])
    digest = hashlib.sha256(head.encode())
    digest.update(np.ascontiguousarray(labels, "<i8").tobytes())
    digest.update(np.ascontiguousarray(ids, "<i8").tobytes())
    for content in digests:
        digest.update(content)
    if lying:
        digest.update(f"{lying} EXIF orientations ignored".encode())
    return digest.hexdigest()


def check_side(height: int, width: int, source: str) -> None:
    """Raise DataError for images too small for the corruptions."""
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{source}: images of {height}×{width} px are too small: at least {MIN_SIDE} px a side is"
            f" needed; use a larger --resize and --crop"
        )


def numerals(labels: Indices) -> tuple[str, ...]:
    """Class names for labels that came without any: "0", "1", … up to the largest."""
    return tuple(str(label) for label in range(int(labels.max()) + 1))
