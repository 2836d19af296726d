"""Records that cannot be trusted are refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.errors import RecordError
from lnbench.results.bits import pack, unpack
from lnbench.results.correct import read_correct
from lnbench.results.reading import checksum, document, first_difference, read, record_bytes
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import RunFolder, make_record
from tests.results.samples import labels, make_cells, make_run


def write(folder: Path, run: Run) -> Path:
    with RunFolder.create_or_resume(folder, run) as opened:
        opened.append(make_cells(run))
        opened.finish(labels=labels(run), ids=np.arange(run.data.images))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests work on copies."""
    return write(tmp_path_factory.mktemp("finished") / "run", make_run())


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def one_line(error: pytest.ExceptionInfo[RecordError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


def test_a_folder_and_its_file_are_the_same_record(folder: Path) -> None:
    assert read(folder) == read(folder / "results.json") == read(str(folder))


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"is not a run folder: it holds no results.json"):
        read(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist"):
        read(tmp_path / "none")


def test_an_unfinished_run(tmp_path: Path) -> None:
    RunFolder.create_or_resume(tmp_path, make_run()).close()
    with pytest.raises(RecordError, match="unfinished run: give the same evaluate command"):
        read(tmp_path)


def test_a_future_schema(folder: Path) -> None:
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**content, "schema": 3, "new": "thing"}))
    with pytest.raises(RecordError, match="has schema 3, this lnbench reads up to 2: upgrade lnbench"):
        read(folder)


@pytest.mark.parametrize("schema", ["1", 0, -1, True, None, 1.5, [1], "x" * 1000])
def test_a_schema_that_is_none(folder: Path, schema: object) -> None:
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**content, "schema": schema}))
    with pytest.raises(RecordError, match="is not a schema number") as error:
        read(folder)
    one_line(error)


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_truncated(folder: Path, share: float) -> None:
    content = (folder / "results.json").read_bytes()
    (folder / "results.json").write_bytes(content[: int(share * len(content)) - 3])
    with pytest.raises(RecordError, match="is not whole JSON"):
        read(folder)


def test_hand_edited(folder: Path) -> None:
    text = (folder / "results.json").read_text()
    old = json.loads(text)["cells"][3]["top1"]
    (folder / "results.json").write_text(text.replace(f'"top1": {old}', '"top1": 0.99', 1))
    with pytest.raises(RecordError, match="was changed after lnbench wrote it"):
        read(folder)


def test_another_layout_is_no_edit(folder: Path) -> None:
    record = read(folder)
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(content, indent=4, sort_keys=True))
    assert read(folder) == record


def seal_again(folder: Path, **changes: object) -> None:
    """Change a record and forge its checksum."""
    content = json.loads((folder / "results.json").read_text()) | changes
    content["checksum"] = checksum(content)
    (folder / "results.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cells": [{"mode": "fixed"}]}, "cells.0.corruption is missing"),
        ({"extra": 1}, "extra is not a name known here"),
        ({"summary": {}}, "the summary and the suite name different modes"),
        ({"suite": 3}, "suite must be names with values"),
    ],
)
def test_a_forged_checksum_does_not_help(folder: Path, changes: dict[str, object], message: str) -> None:
    seal_again(folder, **changes)
    with pytest.raises(RecordError, match=message) as error:
        read(folder)
    one_line(error)


def test_cells_twice_or_foreign(folder: Path) -> None:
    cells = json.loads((folder / "results.json").read_text())["cells"]
    seal_again(folder, cells=[*cells, cells[0]])
    with pytest.raises(RecordError, match="holds cell fixed/clean twice"):
        read(folder)
    seal_again(folder, cells=[{**cells[0], "mode": "evil\n[red]"}])
    with pytest.raises(RecordError, match="which its suite does not have") as error:
        read(folder)
    one_line(error)


def test_rates_must_fit_the_bits(folder: Path) -> None:
    cells = json.loads((folder / "results.json").read_text())["cells"]
    cells[2]["top1"] += 0.05
    seal_again(folder, cells=cells)
    with pytest.raises(RecordError, match="its bits say"):
        read_correct(folder, read(folder))


def test_bits_of_another_run(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", make_run(images=24))
    (folder / "correct.npz").write_bytes((tmp_path / "other" / "correct.npz").read_bytes())
    with pytest.raises(RecordError, match="does not belong to this record"):
        read_correct(folder, read(folder))


def test_a_record_without_bits_has_no_evidence(folder: Path) -> None:
    (folder / "correct.npz").unlink()
    assert read_correct(folder, read(folder)) is None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_files_never_show_a_traceback(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("fuzz") / "run"))
    name = data.draw(st.sampled_from(["results.json", "correct.npz", "run.json", "cells.jsonl"]))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        read_correct(folder, read(folder))
        RunFolder.create_or_resume(folder, make_run()).close()
    except RecordError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("text", ["[]", "3", "null", "[" * 100_000, '{"schema": 1}', "\x00", '{"a": NaN}'])
def test_json_that_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RecordError) as error:
        read(tmp_path)
    one_line(error)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_round_trip(flags: list[bool]) -> None:
    assert unpack(pack(flags), len(flags)).tolist() == flags


@pytest.mark.parametrize("text", ["", "####", "AAAA", "é"])
def test_bits_that_are_none(text: str) -> None:
    with pytest.raises(RecordError, match="damaged"):
        unpack(text, 9)


def test_nan_becomes_null() -> None:
    cell = Cell(
        mode="fixed", corruption="fog", severity=2.5, images=3,
        scores={"top1": 0, "nll": float("nan"), "ece": float("inf")},
    )  # fmt: skip
    assert cell.scores == {"top1": 0, "nll": None, "ece": None}
    assert '"severity":2.5' in cell.model_dump_json()


def test_the_first_difference_is_named() -> None:
    assert first_difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 1}, "c": 3}) == "c is 2 there and 3 now"
    assert first_difference({"a": {"b": [1]}}, {"a": {"b": [2]}}) == "a.b is [1] there and [2] now"
    assert first_difference({"a": 1}, {}) == "a is 1 there and null now"
    assert first_difference({"a": 1}, {"a": 1}) is None


def test_documents_put_an_entry_on_a_line() -> None:
    text = document(
        {"schema": 1, "cells": [{"a": 1}, {"a": 2}], "config": {"x": [1, 2]}, "none": []}
    ).decode()
    assert text == (
        '{\n "schema": 1,\n "cells": [\n  {"a": 1},\n  {"a": 2}\n ],\n'
        ' "config": {\n  "x": [1, 2]\n },\n "none": []\n}\n'
    )


def test_records_are_written_alike_every_time() -> None:
    run = make_run()
    record: Record = make_record(run, make_cells(run))
    assert record_bytes(record) == record_bytes(make_record(run, make_cells(run)))
