"""The registry of data sources: a dict and a decorator; each file under sources/ enters its own.

Every command's help names them, so their files load numpy and the readers only when called (lnbench.lazy,
or an import in the function).
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lnbench.errors import DataError, unknown
from lnbench.types import Condition

if TYPE_CHECKING:
    from lnbench.data.store import Listing

SOURCES: dict[str, Source] = {}

Lists = TypeVar("Lists", bound="Callable[..., Listing]")


class Source(NamedTuple):
    """One kind of data. `about`: what a person would call it; `layout`: how its files lie; `place`: what
    stands behind the kind in a spec.

    `listing` gives the listing of what a spec holds; the names of its parameters say what that is: `path`,
    `split` ("train" or "test"), `root` (of the files it names, or None), `condition`. `looks` says whether
    a bare path, which exists, looks like this kind; the sources are asked by ascending `rank`.
    `conditions`, of sets that were corrupted elsewhere: which conditions lie in a folder.
    """

    kind: str
    about: str
    layout: str
    place: str
    listing: Callable[..., Listing]
    looks: Callable[[Path], bool]
    rank: int
    conditions: Callable[[Path], Iterable[Condition]] | None

    @property
    def takes(self) -> frozenset[str]:
        """What its specs hold besides the kind."""
        return frozenset(inspect.signature(self.listing).parameters)

    @property
    def usage(self) -> str:
        """How its specs are written: `cifar10:PATH[:train]`."""
        path = f":{self.place}" if "path" in self.takes else ""
        return self.kind + path + ("[:train]" if "split" in self.takes else "")


def source(
    kind: str,
    *,
    about: str,
    layout: str = "",
    place: str = "PATH",
    looks: Callable[[Path], bool] = lambda path: False,
    rank: int = 5,
    conditions: Callable[[Path], Iterable[Condition]] | None = None,
) -> Callable[[Lists], Lists]:
    """Enter the decorated listing function as `kind`; see `Source`. Raises ValueError if the name is taken.

    `rank`: 1 for names of files that one publication alone uses, 5 for a suffix or the shape of a tree, 9 for
    what any folder has.

    Example:
        >>> import lnbench, numpy
        >>> from lnbench.data.arrays import list_arrays
        >>> @lnbench.source("my_gray", about="gray squares")
        ... def my_gray():
        ...     images, labels = numpy.full((4, 32, 32, 3), 128, numpy.uint8), numpy.array([0, 1, 0, 1])
        ...     return list_arrays(images, labels, source="my_gray", classes=("a", "b"), stamp="my_gray")
        >>> my_gray().classes
        ('a', 'b')
    """

    def enter(listing: Lists) -> Lists:
        if kind in SOURCES:
            raise ValueError(f"data source '{kind}' is registered twice")
        SOURCES[kind] = Source(kind, about, layout, place, listing, looks, rank, conditions)
        return listing

    return enter


def sources() -> dict[str, Source]:
    """Every source by its kind."""
    _load()
    return SOURCES


def find(kind: str) -> Source:
    """The source of a kind. Raises UsageError naming near ones."""
    if kind not in sources():
        raise unknown("kind of data", kind, SOURCES)
    return SOURCES[kind]


def usages(*, corrupted: bool) -> str:
    """How specs of clean images, or of sets corrupted elsewhere, are written; for the help."""
    return ", ".join(each.usage for each in sources().values() if bool(each.conditions) == corrupted)


def needs(package: str, kind: str) -> None:
    """Raise DataError where the package that a kind of data is read with is not installed."""
    if find_spec(package) is None:
        raise DataError(f"{kind}: needs the package {package}: pip install 'lnbench[hf]'")


@functools.cache
def _load() -> None:
    from lnbench.data import sources as folder

    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        import_module(module.name)
