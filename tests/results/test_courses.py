"""Along the stream: lines, counts and times of the modes, in every report that shows them."""

from __future__ import annotations

import csv
import io
import re

import pytest

from lnbench.results.baseline import baseline_bytes
from lnbench.results.compare import compare
from lnbench.results.courses import Line, cost_table, costs, lines
from lnbench.results.pivot import pivot
from lnbench.results.reading import record_bytes
from lnbench.results.render.delimited import columns, to_csv
from lnbench.results.render.html import to_html
from lnbench.results.render.markdown import to_markdown
from lnbench.results.render.plots import course_plot
from lnbench.results.schema import Cell, Course, Record
from lnbench.results.store import make_record
from lnbench.results.tables import basis
from tests.results.golden import sample
from tests.results.samples import make_cells, make_run


def adapted(**config: object) -> Record:
    """The sample with its batch cells as those of a mode that falls along the stream and forgets twice."""
    run = make_run()
    run = run.model_copy(update={"config": {**run.config, **config}})

    def along(cell: Cell) -> Cell:
        if cell.mode != "batch":
            return cell
        fall = cell.severity / 10
        course = Course(
            unit="stream",
            tenths=tuple(1 - fall * k / 9 for k in range(10)),
            batches=20,
            resets=(5, 15),
            recoveries=(2,),
        )
        return cell.model_copy(update={"course": course, "counts": {"updates": 20.0}, "seconds": 1.0})

    return make_record(run, [along(cell) for cell in make_cells(run)])


def test_a_line_is_the_mean_over_the_corrupted_cells() -> None:
    found = lines([adapted()])
    assert list(found) == [
        "all corrupted conditions", "clean", "gaussian_noise/1", "gaussian_noise/5", "contrast/1",
        "contrast/5",
    ]  # fmt: skip
    fixed, batch, local = found["all corrupted conditions"]
    assert fixed.tenths == local.tenths == ()
    assert batch.tenths[0] == 1 and batch.tenths[-1] == pytest.approx(1 - 0.3)  # severities 1, 5, 1, 5
    assert batch.resets == (0.25, 0.75) and batch.recoveries == (0.1,)
    assert found["contrast/5"][1].tenths[-1] == pytest.approx(0.5)


def test_costs_are_in_times_of_fixed() -> None:
    by_name = {cost.name: cost for cost in costs([adapted()])}
    assert by_name["fixed"].time == 1 and by_name["batch"].time == 4  # 0.25 s and 1 s a cell
    assert by_name["batch"].counts == {"updates": 100} and by_name["fixed"].counts == {}
    mixed = {cost.name: cost for cost in costs([adapted(mixed=True)])}
    assert mixed["batch"].counts == {"updates": 20}  # each cell has those of the whole stream


def test_reports_show_the_stream_where_there_is_one() -> None:
    record, correct = sample()
    assert lines([record]) == {} and cost_table([record]) == ([], [])
    assert "stream-title" not in to_html([record], [correct])
    found = adapted()
    page, text = to_html([found], [None]), to_markdown([found])
    assert "Accuracy along the stream" in page and "time × fixed" in page
    assert "batch goes from 100.0 to 70.0 percent" in page
    assert re.search(r"\| batch \| 100\.0 \| 70\.0 \| 100 \| 4\.00 \|", text)


def test_the_course_is_in_the_csv_where_there_is_one() -> None:
    record, _ = sample()
    assert not {name for name in columns([record]) if name.startswith(("tenth", "count", "resets"))}
    found = list(csv.DictReader(io.StringIO(to_csv([adapted()]))))
    (row,) = [r for r in found if (r["mode"], r["corruption"], r["severity"]) == ("batch", "contrast", "5")]
    assert [float(row[f"tenth_{k}"]) for k in range(1, 11)] == pytest.approx(
        [1 - 0.5 * k / 9 for k in range(10)]
    )
    assert (row["batches"], row["resets_at"], row["recoveries_at"]) == ("20", "5 15", "2")
    assert row["count_updates"] == "20"
    (other,) = [r for r in found if (r["mode"], r["corruption"], r["severity"]) == ("fixed", "contrast", "5")]
    assert other["tenth_1"] == other["count_updates"] == other["batches"] == ""


def test_recoveries_are_drawn_beside_resets() -> None:
    """Lines and triangles are there, and where they belong: seen by what drawing them adds to the picture."""
    tenths = tuple(0.1 * k for k in range(10))
    plain, reset, recovered = (
        course_plot([Line("sar", tenths, *places)], "t").count("<use ")
        for places in ((), ((0.5,),), ((), (0.25, 0.5)))
    )
    assert recovered == plain + 2 and reset == plain
    assert course_plot([Line("sar", tenths, (0.5,))], "t") != course_plot([Line("sar", tenths)], "t")


def test_compare_says_what_a_test_over_one_stream_leaves_out() -> None:
    record, correct = sample()
    found = make_record(record.run, adapted().cells)
    said = [line for line in basis(compare(found, found, correct, correct)) if "not independent" in line]
    assert len(said) == 1 and said[0].startswith("p and interval of batch hold for this one stream")
    assert not any("not independent" in line for line in basis(compare(record, record, correct, correct)))


def test_the_mean_error_stands_beside_accuracy_where_asked_for() -> None:
    rows = {row.name: row for row in pivot([adapted(error=True)]).rows}
    for accuracy, error in zip(rows["mean"].values, rows["mean error"].values, strict=True):
        assert accuracy is not None and error == pytest.approx(1 - accuracy)
    assert rows["mean"].best == rows["mean error"].best
    assert "mean error" not in {row.name for row in pivot([adapted()]).rows}


def test_the_course_is_in_the_record_and_not_in_a_baseline() -> None:
    record, correct = sample()
    found = make_record(record.run, adapted().cells)
    assert b'"course"' in record_bytes(found) and Record.model_validate_json(found.model_dump_json()) == found
    assert b'"course"' not in baseline_bytes(found, correct)
