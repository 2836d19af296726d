"""Parquet files of encoded images and labels, as Hugging Face's hub serves data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lnbench.data.registry import needs, source
from lnbench.errors import DataError
from lnbench.files import one_line, reason, regular

if TYPE_CHECKING:
    from lnbench.data.store import Listing


def looks(path: Path) -> bool:
    """Whether a file is Parquet by its name, or a folder holds some."""
    if path.is_dir():
        return any(path.glob("*.parquet")) or any(path.glob("data/*.parquet"))
    return path.suffix.lower() == ".parquet"


@source(
    "parquet",
    about="parquet files of images",
    layout="a column of images (bytes, or {bytes, path}), one of labels; a file, a folder, x-*.parquet",
    looks=looks,
)
def parquet(path: Path) -> Listing:
    """List the rows of a file, of all files of a folder, sorted, or of those that a pattern with `*` fits.

    Of files named or foldered by splits (`validation-00000-of-00014.parquet`) the evaluation split is taken.
    """
    needs("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lnbench.data import arrow
    from lnbench.data.encoded import list_encoded
    from lnbench.data.label_values import labels_of
    from lnbench.data.store import file_stamp

    where = f"parquet:{path}"
    files, part = _files(path)
    counts: list[int] = []
    values: list[int | str] = []
    expected: arrow.Columns | None = None
    for file in files:
        try:
            regular(file).close()
            found = arrow.columns(pq.read_schema(file), str(file))
            given = pq.ParquetFile(file).read(columns=[found.label]).column(0).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{file}: no readable parquet file ({one_line(reason(error), 160)})") from error
        if expected is not None and found != expected:
            raise DataError(f"{file}: has other columns or classes than {files[0].name}")
        expected = found
        counts.append(len(given))
        values += arrow.label_values(given, str(file))
    assert expected is not None
    labels, classes, named = labels_of(values, where, expected.names)
    cells = arrow.Cells(files, counts, expected.image)
    return list_encoded(
        lambda index: arrow.image_bytes(cells.at(index)),
        source=f"{where} ({part})" if part else where,
        classes=classes,
        labels=labels,
        name=lambda index: f"{index:08d}",
        stamp=file_stamp(files),
        named=named,
        part=part,
    )


def _files(path: Path) -> tuple[list[Path], str]:
    """The files to read in order, and the split they are of where there was a choice."""
    from lnbench.data.tree import evaluation_split, only_splits

    if "*" in path.name:
        files = sorted(path.parent.glob(path.name))
    else:
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise DataError(f"{path}: no such file, nor parquet files in it")
    if not path.is_dir():
        return files, ""
    splits = [_split(file, path) for file in files]
    if not only_splits(set(splits)):
        return files, ""
    part = evaluation_split(set(splits))
    if part is None:
        raise DataError(
            f"{path}: holds a training part alone; if that is meant, write {files[0].parent}/*.parquet"
        )
    return [file for file, split in zip(files, splits, strict=True) if split == part], part


def _split(file: Path, root: Path) -> str:
    """`validation` of `data/validation-00000-of-00014.parquet` or `validation/0000.parquet`."""
    from lnbench.data.tree import only_splits

    names: Sequence[str] = (file.stem.split("-")[0], *reversed(file.relative_to(root).parts[:-1]))
    return next((name for name in names if only_splits({name})), file.stem)
