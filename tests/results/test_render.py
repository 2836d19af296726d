"""Every renderer: goldens, and names that try to break out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from lnbench.files import one_line
from lnbench.results.compare import Comparison, compare
from lnbench.results.correct import Correct, from_cells
from lnbench.results.pivot import pivot
from lnbench.results.ranking import distinct, label, rank
from lnbench.results.render import terminal
from lnbench.results.render.delimited import columns, comparison_to_json, to_csv, to_json
from lnbench.results.render.github import commands
from lnbench.results.render.html import to_html
from lnbench.results.render.junit import to_junit
from lnbench.results.render.latex import text as latex_text
from lnbench.results.render.latex import to_latex
from lnbench.results.render.markdown import (
    code,
    comparison_to_markdown,
    ranking_to_markdown,
    text,
    to_markdown,
)
from lnbench.results.render.plots import line_style
from lnbench.results.rules import parse
from lnbench.results.schema import Record
from lnbench.results.store import make_record
from lnbench.results.tables import percent
from tests.results.golden import FOLDER, GOLDENS, printed, sample
from tests.results.nasty import NASTY, nasty, nasty_record
from tests.results.samples import make_cells, make_run, rescored
from tests.results.test_compare import XSD
from tests.results.xsd import validate


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(name: str) -> None:
    expected = (FOLDER / name).read_bytes().decode("utf-8")
    assert GOLDENS[name]() == expected, "run python -m tests.results.golden and look at the diff"


def test_no_golden_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDENS)


@nasty
def test_csv_keeps_rows_and_runs_nothing(name: str) -> None:
    record, _ = nasty_record(name)
    rows = list(csv.reader(io.StringIO(to_csv([record, record], [name, "b"]), newline="")))
    assert len(rows) == 13 and {len(row) for row in rows} == {len(columns([record]))}
    for row in rows[1:]:
        for value in row:
            assert not value.lstrip().startswith(("=", "+", "-", "@"))
        assert row[rows[0].index("model")].removeprefix("'") == one_line(name)
    assert json.loads(to_json([record]))[0]["model"] == name


OUTPUTS: dict[str, Callable[[Record, Correct, Comparison], str]] = {
    "csv": lambda record, _, __: to_csv([record, record], [record.model.spec, "b"]),
    "json": lambda record, _, __: to_json([record]),
    "md": lambda record, _, __: to_markdown([record, record], [record.model.spec, "b"]),
    "ranking": lambda record, _, __: ranking_to_markdown([record], [record.model.spec]),
    "tex": lambda record, _, __: to_latex([record]),
    "txt": lambda record, _, __: terminal.to_text([record]),
    "html": lambda record, correct, _: to_html([record], [correct]),
    "comparison": lambda _, __, found: comparison_to_markdown(found),
    "comparison json": lambda _, __, found: comparison_to_json(found),
    "junit": lambda _, __, found: to_junit(found),
    "github": lambda _, __, found: "\n".join(commands(found)),
    "terminal": lambda _, __, found: printed(terminal.show_comparison, found),
    "terminal ranking": lambda record, _, __: printed(terminal.show_ranking, [record]),
    "terminal table": lambda record, _, __: printed(terminal.show, [record]),
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_no_output_holds_what_a_terminal_or_a_log_would_obey(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table of names against everything that is written."""
    for picture in ("severity_plot", "reliability_plot", "legend_plot"):
        monkeypatch.setattr(f"lnbench.results.render.html.{picture}", lambda *_: "<svg></svg>")
    for name in NASTY:
        record, correct = nasty_record(name)
        worse = make_cells(record.run, loss=0.3)
        found = compare(record, make_record(record.run, worse), correct, from_cells(worse))
        text = OUTPUTS[output](record, correct, found)
        assert all(char.isprintable() or char == "\n" for char in re.sub("[\ufffe\u2060]", "", text)), ascii(
            name
        )
        if output == "github":
            assert all(line.startswith("::error title=lnbench compare::") for line in text.splitlines())
            text = text.replace("::error title=lnbench compare::", "")
        if output == "github" or output.startswith("terminal"):
            assert "::" not in text and "##" not in text, ascii(name)


def columns_of(line: str) -> int:
    """Number of cells GitHub finds in a table row."""
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


@nasty
def test_markdown_tables_keep_their_shape(name: str) -> None:
    record, correct = nasty_record(name)
    worse = make_cells(record.run, loss=0.3)
    found = compare(record, make_record(record.run, worse), correct, from_cells(worse))
    for page in (
        to_markdown([record, record], [name, "b"]),
        ranking_to_markdown([record], [name]),
        comparison_to_markdown(found),
    ):
        assert "\x1b" not in page and "\r" not in page and "\u202e" not in page
        width = 0
        for line in page.splitlines():
            if line.startswith("|"):
                width = width or columns_of(line)
                assert columns_of(line) == width, line
            else:
                width = 0
            outside = re.sub(r"(?<!\\)(`+)(?:(?!`).|(?!\1)`)*?\1(?!`)", "", line)  # inline code is inert
            assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", outside), line


def test_markdown_escapes() -> None:
    assert text("a|b_c*<x>") == r"a\|b\_c\*\<x\>"
    assert text("a&lt;b") == "a&amp;lt;b"
    assert text("two\nlines") == "two lines"
    assert code("a`b") == "``a`b``"
    assert code("`a`") == "`` `a` ``"
    assert code("a|b") == r"`a\|b`"


@pytest.mark.parametrize("show", [text, code, latex_text])
def test_a_name_is_one_line_that_hides_nothing(show: Callable[[object], str]) -> None:
    assert show("plain name") == show("plain \r\n\tname")
    shown = show("a\x1bb\x00c\u202ed")
    assert shown.isprintable() and all(escape in shown for escape in ("x1b", "x00", "u202e"))
    assert show("n" * 5000).count("n") == 5000


def test_lines_differ_without_colour() -> None:
    styles = [(s["marker"], str(s["linestyle"])) for s in map(line_style, range(20))]
    assert len(set(styles)) == 20


@nasty
def test_latex_typesets_names_as_themselves(name: str) -> None:
    record, _ = nasty_record(name)
    source = to_latex([record])
    rows = [line for line in source.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 5  # heading, two corruptions, clean, mean
    for row in rows:
        body = row.removesuffix(r" \\").replace(r"\&", "")
        assert body.count(" & ") == 2 and body.count("&") == 2
    commands_used = set(re.findall(r"\\([a-zA-Z]+)", source))
    assert commands_used <= {
        "usepackage", "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "textbf",
        "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
        "texttt", "char", "times", "pm", "cdot", "to",
    }  # fmt: skip
    for line in source.splitlines()[1:]:
        assert not re.search(r"(?<!\\)%", line)
        assert not re.match(r"\s*[\[*]", line), "the row before would take it for its argument"
    assert source.count("{") - source.count(r"\{") == source.count("}") - source.count(r"\}")


@nasty
def test_the_terminal_shows_names_as_text(name: str) -> None:
    record, correct = nasty_record(name)
    worse = make_cells(record.run, loss=0.3)
    other = make_record(record.run, worse)
    found = compare(record, other, correct, from_cells(worse), rules=[parse("top1:-1pp")])
    for width, encoding in ((80, "utf-8"), (60, "ascii")):
        for show, what in (
            (terminal.show, [record]),
            (terminal.show_ranking, [record, other]),
            (terminal.show_comparison, found),
        ):
            output = printed(show, what, width=width, encoding=encoding)
            assert "\x1b" not in output and "\x07" not in output
            assert all(cell_len(line) <= width for line in output.splitlines())
            assert encoding != "ascii" or output.isascii()


@nasty
def test_xml_holds_any_name(name: str) -> None:
    record, correct = nasty_record(name)
    worse = make_cells(record.run, loss=0.3)
    found = compare(record, make_record(record.run, worse), correct, from_cells(worse))
    validate(to_junit(found), XSD)
    assert json.loads(comparison_to_json(found))["passed"] is False
    for command in commands(found):
        assert "\n" not in command and "\r" not in command and command.startswith("::error title=")


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 12])
def test_many_modes_fit_eighty_columns(count: int) -> None:
    modes = tuple(f"blend:N={2**i},scope=batch" for i in range(count))
    run = make_run(modes=modes)
    output = printed(terminal.show, [make_record(run, make_cells(run))])
    assert all(cell_len(line) <= 80 for line in output.splitlines())
    for mode in modes:
        assert mode.split(",")[0].removeprefix("blend:") in output
    assert len(re.findall(r"^clean", output, flags=re.MULTILINE)) == -(-count // 5)


def test_the_best_of_a_row_is_marked() -> None:
    run = make_run(modes=("fixed", "local"), conditions=(("fog", 1),))
    cells = []
    for cell in make_cells(run):
        right = 10 if cell.mode == "fixed" or cell.corruption == "clean" else 20
        cells.append(rescored(cell, top1=right / 40))
    grid = pivot([make_record(run, cells)])
    assert {row.name: set(row.best) for row in grid.rows} == {"fog": {1}, "clean": set(), "mean": {1}}
    lines = printed(terminal.show, [make_record(run, cells)]).splitlines()
    assert re.fullmatch(r"fog +25\.00 +50\.00\*", lines[1])


def test_percent() -> None:
    assert (percent(0.91726), percent(None), percent(1, 1)) == ("91.73", "–", "100.0")


def test_ranking_puts_the_best_first_and_shares_places() -> None:
    better, worse = sample()[0], sample(0.1)[0]
    ranked = rank([worse, better, worse], ["w", "b", "w2"])
    means = [entry.summary.mean_corruption_top1 or 0 for entry in ranked]
    assert means == sorted(means, reverse=True)
    places = {(entry.label, entry.mode): entry.place for entry in ranked}
    assert places["w", "fixed"] == places["w2", "fixed"]
    assert ranked[0].label == "b" and ranked[0].place == 1


def test_labels_are_distinct() -> None:
    assert distinct(["a", "b", "a"]) == ("a (1)", "b", "a (2)")
    assert label([sample()[0]]) == ("net",)
