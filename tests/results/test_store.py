"""The run folder: what is written, resumed and refused; two writers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lnbench.errors import RecordError
from lnbench.results.correct import read_correct
from lnbench.results.marks import MARKS
from lnbench.results.reading import read
from lnbench.results.schema import Run
from lnbench.results.store import LATER, LOCK, RunFolder
from lnbench.types import CLEAN, Condition
from tests.results.samples import fill, labels, make_cells, make_run, rescored

ROOT = Path(__file__).parents[2]


def test_a_finished_run_reads_back(tmp_path: Path) -> None:
    run = make_run()
    fill(tmp_path / "run", run)
    record = read(tmp_path / "run")
    correct = read_correct(tmp_path / "run", record)
    assert record.run == run
    assert [cell.key for cell in record.cells] == list(run.suite.keys)
    assert [c.model_copy(update={"correct": None}) for c in make_cells(run)] == list(record.cells)
    assert correct is not None
    for cell in record.cells:
        assert correct.flags[cell.key].mean() == pytest.approx(cell.top1, abs=1e-12)
    assert correct.labels is not None and correct.labels.tolist() == labels(run).tolist()
    assert {p.name for p in (tmp_path / "run").iterdir()} == {*MARKS, ".lnbench.lock"} - {
        "sheet.png",
        "blocks.jsonl",
    }


def test_resume_goes_on_where_it_stopped(tmp_path: Path) -> None:
    run = make_run()
    cells = make_cells(run)
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(cells[:4])
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        assert folder.finished() == {cell.key for cell in cells[:4]}
        folder.append(cells[4:])
        assert folder.cells == cells


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    run = make_run()
    cells = make_cells(run)
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(cells[:3])
    file = tmp_path / "cells.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        assert folder.finished() == {cell.key for cell in cells[:2]}
        folder.append(cells[2:])
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        assert folder.cells == cells


@pytest.mark.parametrize("tail", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"mode": "fixed"}\n', b"\xff\r\x85"])
def test_a_last_line_of_rubbish_is_dropped(tmp_path: Path, tail: bytes) -> None:
    run = make_run()
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(make_cells(run)[:2])
    whole = (tmp_path / "cells.jsonl").read_bytes()
    (tmp_path / "cells.jsonl").write_bytes(whole + tail)
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        assert len(folder.finished()) == 2
    assert (tmp_path / "cells.jsonl").read_bytes() == whole


OTHERS: dict[str, tuple[dict[str, object], str]] = {
    "seed": ({"seed": 1}, r"suite.seed is 0 there and 1 now"),
    "random generator": ({"generator": 3}, r"suite.generator is 2 there and 3 now"),
    "data": ({"fingerprint": "0" * 64}, "data.fingerprint is"),
    "checkpoint": ({"sha256": "b" * 64}, "model.sha256 is"),
    "modes": ({"modes": ("fixed",)}, "suite.modes is"),
    "conditions": ({"conditions": (("fog", 1),)}, "suite.conditions is"),
    "table": ({"table": "imagenet"}, 'suite.table is "cifar" there and "imagenet" now'),
}


def test_a_run_from_before_generators_had_numbers_has_the_first(tmp_path: Path) -> None:
    RunFolder.create_or_resume(tmp_path, make_run()).close()
    head = json.loads((tmp_path / "run.json").read_text())
    del head["suite"]["generator"]
    (tmp_path / "run.json").write_text(json.dumps(head))
    with pytest.raises(RecordError, match=r"suite.generator is 1 there and 2 now"):
        RunFolder.create_or_resume(tmp_path, make_run())
    RunFolder.create_or_resume(tmp_path, make_run(generator=1)).close()
    head["suite"]["backend"] = "precomputed"  # nothing was drawn
    assert Run.model_validate(head).suite.generator is None


@pytest.mark.parametrize("change, message", OTHERS.values(), ids=OTHERS)
def test_another_runs_folder_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    RunFolder.create_or_resume(tmp_path, make_run()).close()
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(RecordError, match=message):
        RunFolder.create_or_resume(tmp_path, make_run(**change))  # type: ignore[arg-type]
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_run_of_another_batch_says_which_goes_on(tmp_path: Path) -> None:
    def sized(images: int, **change: int) -> Run:
        run = make_run(**change)  # type: ignore[arg-type]
        return run.model_copy(update={"config": {**run.config, "batch_size": images}})

    RunFolder.create_or_resume(tmp_path, sized(200)).close()
    with pytest.raises(RecordError, match="give --batch-size 200 to go on with it, choose another --out, or"):
        RunFolder.create_or_resume(tmp_path, sized(100))
    with pytest.raises(RecordError, match=r"now\): choose another --out"):  # it would not go on with it
        RunFolder.create_or_resume(tmp_path, sized(100, seed=1))


def test_what_decides_no_number_does_not_hinder(tmp_path: Path) -> None:
    run = make_run()
    RunFolder.create_or_resume(tmp_path, run).close()
    moved = run.model_copy(
        update={
            "config": {**run.config, "data": "moved.npz"},
            "started": "later",
            "environment": run.environment.model_copy(update={"device": "NVIDIA"}),
        }
    )
    with RunFolder.create_or_resume(tmp_path, moved) as folder:
        assert folder.run.started == run.started
        assert folder.run.deviations == (
            'resumed in another environment: device is "cpu" there and "NVIDIA" now',
        )
    with RunFolder.create_or_resume(tmp_path, moved) as folder:
        assert len(folder.run.deviations) == 1


@pytest.mark.parametrize("name", LATER)
def test_a_run_from_before_an_identity_was_kept_goes_on_and_says_so(tmp_path: Path, name: str) -> None:
    run = make_run()
    RunFolder.create_or_resume(tmp_path, run).close()
    known = run.model_copy(update={"model": run.model.model_copy(update={name: "1" * 64})})
    for _ in range(2):
        with RunFolder.create_or_resume(tmp_path, known) as folder:
            assert getattr(folder.run.model, name) == "1" * 64
            assert folder.run.deviations == (LATER[name],)
    other = run.model_copy(update={"model": run.model.model_copy(update={name: "2" * 64})})
    for changed in (other, run):
        with pytest.raises(RecordError, match=f"model.{name} is"):
            RunFolder.create_or_resume(tmp_path, changed)


def test_fresh_removes_our_files_only(tmp_path: Path) -> None:
    fill(tmp_path, make_run())
    (tmp_path / "notes.txt").write_text("mine")
    with RunFolder.create_or_resume(tmp_path, make_run(seed=1), fresh=True) as folder:
        assert folder.finished() == frozenset()
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt", "run.json", ".lnbench.lock"}


@pytest.mark.parametrize("name", ["results.csv", "report.md", "cells.jsonl"])
@pytest.mark.parametrize("fresh", [True, False])
def test_files_of_unknown_origin_are_not_touched(tmp_path: Path, name: str, fresh: bool) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RecordError, match=f"holds {name} but no run.json"):
        RunFolder.create_or_resume(tmp_path, make_run(), fresh=fresh)
    assert (tmp_path / name).read_text() == "mine"


FOREIGN = {
    "run.json": '{"name": "another program\'s"}',
    "cells.jsonl": '{"cell": 1}\n',
    "results.json": '{"mine": 1}',
    "results.csv": "day,figure\n1,2\n",
    "report.md": "# My report\n",
    "report.html": "<!doctype html><title>mine</title>",
    "correct.npz": "PK but not ours",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("fresh", [True, False])
def test_a_file_that_another_program_wrote_into_a_run_folder_is_not_touched(
    tmp_path: Path, name: str, fresh: bool
) -> None:
    fill(tmp_path, make_run())
    (tmp_path / name).write_text(FOREIGN[name])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RecordError, match=f"holds a {name} that lnbench did not write: move it away"):
        RunFolder.create_or_resume(tmp_path, make_run(), fresh=fresh)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("name", [*MARKS, LOCK, ".results.csv.tmp", ".run.json.tmp"])
@pytest.mark.parametrize("target", ["own", "dangling"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str, target: str, fresh: bool) -> None:
    fill(tmp_path / "run", make_run())
    link, victim = tmp_path / "run" / name, tmp_path / "victim"
    if target == "own":
        victim.write_bytes(link.read_bytes() if link.exists() else b"")
    before = victim.read_bytes() if victim.exists() else None
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    try:
        with RunFolder.create_or_resume(tmp_path / "run", make_run(), fresh=fresh) as folder:
            folder.append([cell for cell in make_cells(folder.run) if cell.key not in folder.finished()])
            folder.finish(labels=labels(folder.run), ids=np.arange(folder.run.data.images), sheet=b"")
    except RecordError:
        assert link.is_symlink()
    else:
        assert name.endswith(".tmp")
    assert (victim.read_bytes() if victim.exists() else None) == before


def test_a_sheet_of_an_earlier_version_stays(tmp_path: Path) -> None:
    fill(tmp_path, make_run())
    (tmp_path / "sheet.png").write_bytes(b"\x89PNG from before marks")
    with RunFolder.create_or_resume(tmp_path, make_run(), fresh=True) as folder:
        folder.append(make_cells(folder.run))
        folder.finish(labels=labels(folder.run), ids=np.arange(folder.run.data.images), sheet=b"\x89PNG new")
    assert (tmp_path / "sheet.png").read_bytes() == b"\x89PNG from before marks"


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        RunFolder.create_or_resume(tmp_path, make_run()),
        pytest.raises(RecordError, match="in use by another lnbench run"),
    ):
        RunFolder.create_or_resume(tmp_path, make_run())
    RunFolder.create_or_resume(tmp_path, make_run()).close()


def test_append_refuses_what_does_not_belong(tmp_path: Path) -> None:
    run = make_run()
    cells = make_cells(run)
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append(cells[:1])
        for wrong in (
            [cells[0]],
            [cells[1], cells[1].model_copy()],
            [cells[1].model_copy(update={"mode": "other"})],
            [cells[1].model_copy(update={"correct": None})],
        ):
            with pytest.raises(ValueError):
                folder.append(wrong)
        with pytest.raises(RecordError, match="its bits say"):
            folder.append([rescored(cells[1], top1=0.0).model_copy(update={"correct": cells[1].correct})])
        assert folder.finished() == {cells[0].key}


def test_an_interrupted_run_leaves_a_record_that_says_so(tmp_path: Path) -> None:
    run = make_run()
    with RunFolder.create_or_resume(tmp_path, run) as folder:
        folder.append([cell for cell in make_cells(run) if cell.condition == CLEAN])
        record = folder.finish(labels=labels(run), ids=np.arange(40))
    assert not record.summary["fixed"].complete
    assert record.summary["fixed"].mean_corruption_top1 is None
    assert record.cell("fixed", Condition("contrast", 5)) is None
    assert "incomplete: 12 of 15 cells are missing" in (tmp_path / "report.md").read_text()


def test_the_record_has_the_promised_shape(tmp_path: Path) -> None:
    fill(tmp_path, make_run())
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["schema"] == 2
    assert set(content) >= {"config", "model", "data", "environment", "cells", "summary"}
    assert set(content["cells"][0]) >= {
        "mode", "corruption", "severity", "images", "top1", "top5", "nll", "ece", "seconds",
    }  # fmt: skip
    assert content["cells"][0]["severity"] == 0 and content["cells"][0]["corruption"] == "clean"
    assert '"severity": 5,' in (tmp_path / "results.json").read_text()
    assert "correct" not in content["cells"][0]
    assert set(content["summary"]["fixed"]) >= {"clean_top1", "mean_corruption_top1", "mce", "relative_mce"}
