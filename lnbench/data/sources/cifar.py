"""CIFAR-10 and CIFAR-100 as published: Python pickles, loose or in the `.tar.gz`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from lnbench.data.registry import source
from lnbench.errors import DataError
from lnbench.files import one_line, read_bytes, reason, regular
from lnbench.lazy import np

if TYPE_CHECKING:
    import tarfile

    import numpy.typing as npt

    from lnbench.data.store import Listing

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = tuple(_CIFAR100.split())

_MAX_BYTES = 1 << 28  # the largest batch file has 155 MB
_MAX_MEMBERS = 1000


class _Layout(NamedTuple):
    folder: str
    files: dict[str, tuple[str, ...]]  # by split
    labels: str
    classes: tuple[str, ...]


LAYOUTS = {
    "cifar10": _Layout(
        folder="cifar-10-batches-py",
        files={"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)},
        labels="labels",
        classes=CIFAR10,
    ),
    "cifar100": _Layout(
        folder="cifar-100-python",
        files={"train": ("train",), "test": ("test",)},
        labels="fine_labels",
        classes=CIFAR100,
    ),
}


def looks(path: Path, *, kind: str) -> bool:
    """Whether a folder or archive holds the files of a CIFAR set."""
    layout = LAYOUTS[kind]
    if path.is_dir():
        firsts = [names[0] for names in layout.files.values()]
        return any((folder / name).is_file() for folder in (path, path / layout.folder) for name in firsts)
    if _is_tar(path):
        return _holds(path, layout.files["test"])
    # A lone file of CIFAR-100 is called "train" or "test", which says nothing.
    return "batch" in path.name and any(path.name in names for names in layout.files.values())


@source(
    "cifar10",
    about="the CIFAR-10 batches",
    layout="data_batch_1 … data_batch_5, test_batch; or the published .tar.gz",
    looks=partial(looks, kind="cifar10"),
    rank=1,
)
def cifar10(path: Path, split: str) -> Listing:
    return list_cifar("cifar10", path, split)


@source(
    "cifar100",
    about="the CIFAR-100 batches",
    layout="train, test; or the published .tar.gz",
    looks=partial(looks, kind="cifar100"),
    rank=1,
)
def cifar100(path: Path, split: str) -> Listing:
    return list_cifar("cifar100", path, split)


def list_cifar(kind: str, path: Path, split: str) -> Listing:
    """List "cifar10" or "cifar100" from a folder, its parent, the `.tar.gz` or a single batch file.

    `split` is "test" or "train"; a single batch file is taken as it is. Nothing in the files is
    executed. Raises DataError.
    """

    from lnbench.data.arrays import list_arrays
    from lnbench.data.store import file_stamp

    layout = LAYOUTS[kind]
    wanted = layout.files[split]
    images: list[npt.NDArray[Any]] = []
    labels: list[int] = []
    name = f"{kind}:{path}" + (":train" if split == "train" else "")
    try:
        contents, stamped = _contents(path, layout, wanted)
        stamp = file_stamp(stamped)
    except _damaged() as error:
        raise DataError(f"{name}: cannot be read: {reason(error)}") from error
    for file, data in contents.items():
        batch, batch_labels = _batch(f"{name} ({file})", data, layout.labels)
        images.append(batch)
        labels.extend(batch_labels)
    return list_arrays(
        np.concatenate(images),
        np.array(labels, np.int64),
        source=name,
        classes=layout.classes,
        stamp=stamp + split,
    )


def _contents(path: Path, layout: _Layout, wanted: tuple[str, ...]) -> tuple[dict[str, bytes], list[Path]]:
    """The batch files' bytes in order, and the files they were found in."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        folder = path if (path / wanted[0]).is_file() else path / layout.folder
        paths = [folder / name for name in wanted]
        for file in paths:
            if not file.is_file():
                raise DataError(
                    f"{path}: no '{file.name}' there; the Python version of the dataset is needed"
                )
            if file.stat().st_size > _MAX_BYTES:
                raise DataError(f"{file}: too large for a batch")
        return {file.name: read_bytes(file, DataError, most=_MAX_BYTES) for file in paths}, paths
    if _is_tar(path):
        return _from_tar(path, wanted), [path]
    return {path.name: read_bytes(path, DataError, most=_MAX_BYTES)}, [path]


def _damaged() -> tuple[type[Exception], ...]:
    """What reading a damaged archive raises, packed by any of the programs that tarfile unpacks."""
    import lzma
    import tarfile
    import zlib

    return OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar"))


def _holds(path: Path, wanted: Iterable[str]) -> bool:
    """Whether files of these names are in an archive, wherever in it."""
    import tarfile

    missing = set(wanted)
    try:
        with regular(path) as file, tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in _members(archive, path):
                missing.discard(PurePosixPath(member.name).name)
                if not missing:
                    return True
    except DataError:
        pass
    except _damaged():
        pass
    return False


def _from_tar(path: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The wanted files, read in place: nothing is unpacked to disk."""
    import tarfile

    found: dict[str, bytes] = {}
    with regular(path) as file, tarfile.open(fileobj=file, mode="r:*") as archive:
        for member in _members(archive, path):
            name = PurePosixPath(member.name).name
            stream = archive.extractfile(member) if name in wanted and member.isreg() else None
            if stream is not None:
                found[name] = stream.read()
            if len(found) == len(wanted):
                return {name: found[name] for name in wanted}
    missing = next(name for name in wanted if name not in found)
    raise DataError(f"{path}: no '{missing}' in it; the Python version of the dataset is needed")


def _members(archive: tarfile.TarFile, path: Path) -> Iterable[tarfile.TarInfo]:
    for count, member in enumerate(archive):
        if member.size > _MAX_BYTES or count > _MAX_MEMBERS:
            raise DataError(f"{path}: '{one_line(member.name, 80)}' is too large for a CIFAR archive")
        yield member


def _batch(where: str, data: bytes, label_key: str) -> tuple[npt.NDArray[Any], list[int]]:
    """Images uint8 (n, 32, 32, 3) and labels of one batch file."""
    from lnbench.data.cifar_pickle import read_pickle

    try:
        batch = {
            str(key, "latin-1") if isinstance(key, bytes) else key: value
            for key, value in read_pickle(data).items()
        }
    except ValueError as error:
        raise DataError(f"{where}: {reason(error)}") from error
    rows, labels = batch.get("data"), batch.get(label_key)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
        raise DataError(
            f"{where}: 'data' is not uint8 (n, 3072); the Python version of the dataset is needed"
        )
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{where}: no list of integers '{label_key}'; is it the other CIFAR?")
    if len(labels) != len(rows):
        raise DataError(f"{where}: {len(rows)} images but {len(labels)} labels")
    if not all(0 <= label < 1000 for label in labels):
        raise DataError(f"{where}: labels outside the classes")
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
