"""Records and evidence from strangers: bounded in bytes, refused in one line, at once."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lnbench.errors import RecordError
from lnbench.results.correct import from_cells, read_correct
from lnbench.results.marks import MARKS
from lnbench.results.publish import load
from lnbench.results.reading import read, record_bytes
from lnbench.results.render.html import to_html
from lnbench.results.schema import Cell
from lnbench.results.store import RunFolder, make_record
from tests.results.samples import labels, make_cells, make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = make_run()
    cells = make_cells(run)
    path = tmp_path / "run"
    RunFolder.create_or_resume(path, run).close()
    (path / "results.json").write_bytes(record_bytes(make_record(run, cells)))
    content = from_cells(cells, labels=labels(run), ids=np.arange(40)).to_npz()
    (path / "correct.npz").write_bytes(content)
    return path


def bomb(arrays: dict[str, np.ndarray]) -> None:
    """Rows of zeros, which pack to a thousandth."""
    arrays["bits"] = np.zeros((len(arrays["cells"]), 50_000_000 // len(arrays["cells"])), np.uint8)


def flat_labels(arrays: dict[str, np.ndarray]) -> None:
    arrays["labels"] = np.array(3)


def other_labels(arrays: dict[str, np.ndarray]) -> None:
    arrays["labels"] = arrays["labels"][:7]


def no_ids(arrays: dict[str, np.ndarray]) -> None:
    del arrays["ids"]
    arrays["labels"] = np.zeros((40, 1), int)


def text_labels(arrays: dict[str, np.ndarray]) -> None:
    arrays["labels"] = np.array(["a"] * 40)


def flat_bits(arrays: dict[str, np.ndarray]) -> None:
    arrays["bits"] = arrays["bits"].reshape(-1)


def negative_images(arrays: dict[str, np.ndarray]) -> None:
    arrays["images"] = -arrays["images"]


@pytest.mark.parametrize(
    "change", [bomb, flat_labels, other_labels, no_ids, text_labels, flat_bits, negative_images]
)
def test_evidence_that_fits_nothing(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(folder / "correct.npz") as content:
        arrays = dict(content)
    change(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    (folder / "correct.npz").write_bytes(buffer.getvalue())
    with pytest.raises(RecordError, match=r"damaged|does not belong"):
        read_correct(folder, read(folder))


def test_an_archive_that_lies_about_its_size(folder: Path) -> None:
    with zipfile.ZipFile(folder / "correct.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(50_000_000))
    with pytest.raises(RecordError, match="damaged"):
        read_correct(folder, read(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", [*MARKS, ".lnbench.lock"])
def test_a_pipe_under_any_name_blocks_nothing(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    if name == "results.json":
        with pytest.raises(RecordError):
            load([folder])
    elif name == "sheet.png":
        assert load([folder]).sheet is None
    try:
        RunFolder.create_or_resume(folder, make_run(), fresh=True).close()
    except RecordError as error:
        assert "that lnbench did not write" in str(error)
    else:
        assert name in ("sheet.png", ".lnbench.lock")  # left as it is; only held


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc/self/mem"])
def test_devices_are_no_records(path: str) -> None:
    with pytest.raises(RecordError):
        read(path)


EXTREMES = {
    "shifts all 0": {"shifts": {"bn1": 0.0}},
    "large shifts": {"shifts": {"bn1": 1e39}},
    "a large likelihood": {"scores": {"top1": 0.5, "nll": 1e39, "ece": 0.1, "top5": 1.0}},
    "no time": {"seconds": 0.0},
    "all time": {"seconds": 1e300},
}


@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_figures_are_shown(case: str) -> None:
    run = make_run()
    plain = [cell.model_copy(update={"correct": None, "bins": None}) for cell in make_cells(run)]
    cells = [Cell.model_validate(dict(cell) | EXTREMES[case]) for cell in plain]
    assert "<html" in to_html([make_record(run, cells)], [None])


@pytest.mark.parametrize(
    "change", [{"shifts": {"bn1": 1.7e308}}, {"scores": {"top1": 0.5, "nll": 1.7e308}}, {"seconds": -1}]
)
def test_figures_beyond_reason_are_refused(change: dict[str, object]) -> None:
    cell = make_cells(make_run())[0]
    with pytest.raises(ValueError):
        Cell.model_validate(dict(cell) | change)
