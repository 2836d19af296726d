"""Data sets of Hugging Face's hub, or of a folder that their library `datasets` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnbench.data.registry import needs, source
from lnbench.errors import DataError, LnbenchError
from lnbench.files import one_line, regular, said
from lnbench.hub import hub_unless_unreachable

if TYPE_CHECKING:
    from lnbench.data.store import Listing

_SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves


def looks(path: Path) -> bool:
    """Whether a folder is a saved data set."""
    return any((path / name).is_file() for name in _SAVED)


@source(
    "hf",
    about="a data set of Hugging Face",
    layout="a name on the hub, or a folder that datasets wrote",
    place="ORG/NAME[@REVISION][:SPLIT]",
    looks=looks,
    rank=4,
)
def hf(path: Path) -> Listing:
    """List a split of a data set that `datasets` loads; its code is never run, its files are mapped.

    Without a split, `validation` or `test` is taken, never `train`.
    """
    needs("datasets", "hf")
    needs("pyarrow", "hf")
    from lnbench.data import arrow
    from lnbench.data.encoded import list_encoded
    from lnbench.data.label_values import labels_of
    from lnbench.data.store import file_stamp

    where = f"hf:{path}"
    name, revision, wanted = parts(str(path))
    if not Path(name).exists() and Path(name).is_absolute():
        raise DataError(f"{where}: no such file or folder")
    try:
        rows, split = _load(name, revision, wanted, where)
        found = arrow.columns(rows.features.arrow_schema, where)
        table = rows.with_format("arrow")
        given = table.select_columns([found.label])[:].column(0).to_pylist()
        images = table.select_columns([found.image])
    except LnbenchError:
        raise
    except Exception as error:
        # The hub, the network, the cache and Arrow each raise several kinds.
        raise DataError(f"{where}: cannot be loaded: {said(error)}") from error
    labels, classes, named = labels_of(arrow.label_values(given, where), where, found.names)
    part = "" if split == wanted else split
    files = [Path(file["filename"]) for file in rows.cache_files]
    return list_encoded(
        lambda index: arrow.image_bytes(images[index].column(0)[0].as_py()),
        source=f"{where} ({part})" if part else where,
        classes=classes,
        labels=labels,
        name=lambda index: f"{index:08d}",
        stamp=f"{file_stamp(files)} {where} {split} {rows._fingerprint}",
        named=named,
        part=part,
    )


def parts(text: str) -> tuple[str, str | None, str]:
    """Name, revision and split of `ORG/NAME@REVISION:SPLIT`; a folder of that name is taken as it is."""
    if Path(text).exists():
        return text, None, ""
    head, colon, split = text.rpartition(":")
    head, split = (head, split) if colon and "/" not in split else (text, "")
    if Path(head).exists():
        return head, None, split
    name, _, revision = head.partition("@")
    return name, revision or None, split


def _load(name: str, revision: str | None, wanted: str, where: str) -> tuple[Any, str]:
    """The rows of a split and its name, "" where the data set has no splits."""
    import datasets

    folder = Path(name)
    if looks(folder):
        for file in folder.rglob("*"):
            if not file.is_dir():
                regular(file).close()  # what the library maps by name
        saved = datasets.load_from_disk(name)
        if not isinstance(saved, datasets.DatasetDict):
            if wanted:
                raise DataError(f"{where}: has no splits; write hf:{name}")
            return saved, ""
        split = _chosen(list(saved), wanted, where)
        return saved[split], split
    with hub_unless_unreachable(needed=True) as (_, unreachable):
        try:
            split = _chosen(datasets.get_dataset_split_names(name, revision=revision), wanted, where)
            return datasets.load_dataset(name, split=split, revision=revision), split
        except LnbenchError:
            raise
        except Exception as error:
            if not unreachable:
                raise
            raise DataError(
                f"{where}: is not in the cache of datasets, and there is no connection to {unreachable}"
            ) from error


def _chosen(splits: Sequence[str], wanted: str, where: str) -> str:
    from lnbench.data.tree import evaluation_split, only_splits

    listed = one_line(", ".join(splits), 200)
    if wanted and wanted not in splits:
        raise DataError(f"{where}: no split '{wanted}' among {listed}")
    if wanted:
        return wanted
    known = [split for split in splits if only_splits({split})]
    split = evaluation_split(known) or (splits[0] if len(splits) == 1 and not known else None)
    if split is None:
        raise DataError(f"{where}: say which of its splits is meant, with :SPLIT: {listed}")
    return split
