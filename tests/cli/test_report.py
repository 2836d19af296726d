"""`lnbench report` through its real entry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lnbench.api import read as read_record
from lnbench.results.publish import FORMATS
from lnbench.results.reading import read
from tests.cli.conftest import Lnbench
from tests.cli.test_compare import one_line, write


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("runs") / "base", images=40)


def test_the_table_on_the_terminal(lnbench: Lnbench, run: Path) -> None:
    ran = lnbench("report", run)
    assert ran.code == 0 and ran.err == ""
    assert ran.out.splitlines()[0].split() == ["top-1", "%", "fixed", "batch", "local"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_to_a_file_and_to_the_terminal(
    lnbench: Lnbench, run: Path, tmp_path: Path, name: str
) -> None:
    file = tmp_path / f"out.{name}"
    assert lnbench("report", run, "-o", file).code == 0
    assert lnbench("report", run, "--format", name).out == file.read_text()
    assert file.read_text().strip()


def test_several_runs_and_several_files(lnbench: Lnbench, run: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.csv", tmp_path / "a.json"]
    assert lnbench("report", run, run / "results.json", "-o", files[0], "-o", files[1]).code == 0
    names = {row["run"] for row in json.loads(files[1].read_text())}
    assert names == {run.name, f"{run.name}/results.json"}  # without the folders they share


def test_the_page_of_the_run_folder_can_be_made_again(lnbench: Lnbench, run: Path, tmp_path: Path) -> None:
    (run / "sheet.png").write_bytes(b"\x89PNG")
    assert lnbench("report", run, "-o", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "data:image/png;base64,iVBORw==" in page and "Losses by class" in page


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["-o", "{tmp}/x.pdf"], 2, "unknown format in {tmp}/x.pdf 'pdf'"),
        (["-o", "{tmp}/x"], 2, "unknown format"),
        (["--format", "docx"], 2, "unknown format in --format 'docx'"),
        (["{tmp}/none"], 3, "does not exist"),
        (["-o", "{tmp}/no/x.html"], 3, "cannot write"),
    ],
)
def test_wrong_input_gives_one_line(
    lnbench: Lnbench, run: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    ran = lnbench("report", run, *(word.format(tmp=tmp_path) for word in words))
    assert ran.code == code and message.format(tmp=tmp_path) in ran.err
    assert one_line(ran.err)


DESTRUCTIVE = {
    "a report over its own record": ["report", "{run}", "-o", "{run}/results.json"],
    "a report over run.json": ["report", "{run}", "-o", "{run}/run.json"],
    "a report over another run's record": ["report", "{base}", "-o", "{run}/results.json"],
    "a report over what it reads": ["report", "{base}", "-o", "{base}"],
    "a comparison over a record": ["compare", "{base}", "{run}", "--json", "{run}/results.json"],
    "a comparison over its base": ["compare", "{base}", "{run}", "--json", "{base}"],
    "tables over its base": ["compare", "{base}", "{run}", "--markdown", "{base}"],
    "test cases over its base": ["compare", "{base}", "{run}", "--junit", "{base}"],
    "a ranking over its base": ["compare", "{base}", "{run}", "{run}", "--markdown", "{base}"],
    "a baseline over a record": ["compare", "{run}", "--update-baseline", "{run}/results.json"],
}


@pytest.mark.parametrize("case", DESTRUCTIVE)
def test_no_output_destroys_a_record(lnbench: Lnbench, run: Path, tmp_path: Path, case: str) -> None:
    base = tmp_path / "base.json"
    assert lnbench("compare", run, "--update-baseline", base).code == 0
    before = {path: path.read_bytes() for path in (*run.iterdir(), base)}
    ran = lnbench(*(word.format(run=run, base=base) for word in DESTRUCTIVE[case]))
    assert ran.code == 3 and "write to another file" in ran.err and one_line(ran.err)
    assert {path: path.read_bytes() for path in (*run.iterdir(), base)} == before


def test_pages_and_baselines_can_be_written_again(lnbench: Lnbench, run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert lnbench("report", run, "-o", run / "report.html", "-o", run / "results.csv").code == 0
        assert lnbench("compare", run, "--update-baseline", tmp_path / "base.json").code == 0


def test_a_sheet_that_is_a_link_is_not_shown(lnbench: Lnbench, run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\x89PNG secret")
    (run / "sheet.png").unlink(missing_ok=True)
    (run / "sheet.png").symlink_to(tmp_path / "secret")
    assert lnbench("report", run, "-o", tmp_path / "page.html").code == 0
    assert "data:image/png" not in (tmp_path / "page.html").read_text()
    (run / "sheet.png").unlink()


def test_pandas_sees_the_same_rows(run: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = read_record(run).cells
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 15
    assert frame.loc[frame["corruption"] == "clean", "severity"].eq(0).all()
    assert frame["top1"].between(frame["top1_low"], frame["top1_high"]).all()


def test_without_pandas_the_remedy_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lnbench.errors import LnbenchError

    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(LnbenchError, match=r"need pandas: pip install 'lnbench\[pandas\]'"):
        print(read_record(run).cells)


def test_a_sweep_is_shown_as_a_curve(lnbench: Lnbench, tmp_path: Path) -> None:
    ran = lnbench(
        "evaluate", "--preset", "ci", "--model", "demo", "--data", "demo", "--limit", "48",
        "--corruption", "contrast", "--severity", "5",
        "--norm", "blend:N={1,4,16},layers=first2", "--out", tmp_path / "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("blend:N=·,layers=first2"))
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    for line, value in zip(lines[start + 1 : start + 4], (1, 4, 16), strict=True):
        summary = record["summary"][f"blend:N={value},layers=first2"]
        assert line.split()[:2] == [f"{value}", f"{100 * summary['clean_top1']:.2f}"]
        assert line.split()[2].rstrip("*") == f"{100 * summary['mean_corruption_top1']:.2f}"
    assert lnbench("report", tmp_path / "run").out == ran.out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Accuracy along N" in page and "blend:N=·,layers=first2" in page


def test_a_folder_of_runs_stands_for_the_runs_in_it(lnbench: Lnbench, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / name, images=40)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "run.json").write_bytes((tmp_path / "a" / "run.json").read_bytes())
    (tmp_path / "other").mkdir()
    ran = lnbench("report", tmp_path, "--format", "csv")
    assert ran.code == 0 and {line.partition(",")[0] for line in ran.out.splitlines()} == {"run", "a", "b"}
    assert ran.err.count("left out:") == 1 and "unfinished is not finished" in ran.err
    ran = lnbench("report", tmp_path / "other")
    assert ran.code == 3 and "is not a run folder" in ran.err


def test_unlike_runs_have_no_common_best(lnbench: Lnbench, tmp_path: Path) -> None:
    one, like = write(tmp_path / "one", images=40), write(tmp_path / "like", images=40, loss=0.3)
    other = write(tmp_path / "other", images=40, loss=0.3, seed=1)

    def marked(*runs: Path) -> list[int]:
        ran = lnbench("report", *runs, "--format", "txt")
        assert ran.code == 0
        row = next(line for line in ran.out.splitlines() if line.startswith("clean"))
        return [number for number, figure in enumerate(row.split()[1:]) if figure.endswith("*")]

    (best,) = marked(one)
    assert marked(one, like) == [best]
    assert marked(one, other)[0] == best and marked(one, other)[1] >= 3  # each run has its own
    assert "not like for like" in lnbench("report", one, other).out
    assert "not like for like" not in lnbench("report", one, like).out


@pytest.mark.parametrize("form", ["txt", "md", "tex"])
def test_other_metrics_and_severities_on_request(lnbench: Lnbench, run: Path, form: str) -> None:
    record = read(run)
    plain = lnbench("report", run, "--format", form).out
    severe = lnbench("report", run, "--format", form, "--severities").out
    names = {f"{cell.corruption} {cell.severity:g}" for cell in record.cells if cell.severity}
    for name in names:
        shown = name.replace("_", "\\_") if form != "txt" else name
        assert shown in severe and shown not in plain
    cell = next(cell for cell in record.cells if cell.severity == 5 and cell.mode == "fixed")
    assert f"{100 * cell.top1:.2f}" in severe
    other = lnbench("report", run, "--format", form, "--severities", "--metric", "nll").out
    assert f"{cell.scores['nll']:.3f}" in other and "mCE" not in other and "±" not in other


def test_a_metric_that_no_run_has(lnbench: Lnbench, run: Path) -> None:
    ran = lnbench("report", run, "--metric", "top6")
    assert ran.code == 2 and "unknown metric 'top6': did you mean top" in ran.err and one_line(ran.err)


def test_best_is_least_where_less_is_better(lnbench: Lnbench, run: Path) -> None:
    row = next(
        line
        for line in lnbench("report", run, "--metric", "nll").out.splitlines()
        if line.startswith("clean")
    )
    figures = [float(figure.rstrip("*")) for figure in row.split()[1:]]
    assert [figure.endswith("*") for figure in row.split()[1:]] == [f == min(figures) for f in figures]
