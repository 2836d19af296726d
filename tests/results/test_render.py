"""Every renderer: goldens, and names that try to break out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import ClassVar

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
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import make_record
from lnbench.results.tables import percent
from tests.results.golden import FOLDER, GOLDENS, full, printed, sample
from tests.results.samples import labels, make_cells, make_run, rescored
from tests.results.test_compare import XSD
from tests.results.xsd import validate


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(name: str) -> None:
    expected = (FOLDER / name).read_bytes().decode("utf-8")
    assert GOLDENS[name]() == expected, "run python -m tests.results.golden and look at the diff"


def test_no_golden_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDENS)


# Each of these means something to one of the formats, the terminal, a spreadsheet or GitHub.
NASTY = (
    "<script>alert(1)</script>",
    "</style><b>",
    '"onload="x',
    "a&b&amp;c",
    "a_b__c_*d*",
    "50%",
    "a|b",
    "line\nbreak",
    "car\r\nriage",
    "=cmd|' /C calc'!A0",
    " @SUM(1)",
    "-2+3",
    "$x_1$ ${HOME}",
    r"\input{x}\\",
    "`code` ``",
    "[bold red]x[/]",
    "[link](javascript:x)",
    "\x1b[31mred\x1b[0m\x07",
    "]]> <!-- -->",
    "::error::x",
    "a :tada: b::heart::",
    "{{ 7*7 }}{% raw %}",
    "_under",
    "https://example.org @user #1",
    "\u202egnp.exe",
    "日本語",
    "x" * 300,
    "\ud7ff\ufffe",
    ":smile: :warning:",
    "##[error]x ##vso[task.setvariable]",
    "\x1b]0;title\x07 \x9b31m \x85\u2028 \x7f",
    "[3cm]",
    "*star",
)


def nasty_record(name: str) -> tuple[Record, Correct]:
    """A record with `name` wherever a name can stand."""
    run = make_run(
        modes=("fixed", name),
        conditions=((name, 1), ("fog", 2)),
        names=(name, "dog", "owl", "yak"),
        spec=name,
        table=name,
        preset=name,
        deviations=(name,),
    )
    data = run.data.model_copy(update={"spec": name, "source": name, "skipped": ((name, name),)})
    model = run.model.model_copy(update={"source": name, "weights": name})
    run = Run.model_validate({**dict(run), "data": data, "model": model, "command": name})
    cells: list[Cell] = []
    for cell in make_cells(run):
        cells.append(cell.model_copy(update={"shifts": {name: 0.5}}) if cell.mode == "fixed" else cell)
    return make_record(run, cells), from_cells(cells, labels=labels(run), ids=range(40))


nasty = pytest.mark.parametrize("name", NASTY, ids=[ascii(name)[:24] for name in NASTY])


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


class Page(HTMLParser):
    """What a browser would make of a page: tags that close, ids, references, shown text."""

    VOID: ClassVar = {"meta", "img", "wbr", "br", "link", "path", "use", "rect"}

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.levels: list[int] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag not in {"meta", "img", "wbr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in {"meta", "img", "wbr"}:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def parse_page(page: str) -> Page:
    found = Page()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


def check_page(page: str) -> Page:
    """A page that is whole, reaches for nothing outside, and can be read without seeing it."""
    found = parse_page(page)
    assert not found.tags & {"script", "iframe", "object", "embed", "form", "link", "b"}
    assert len(found.ids) == len(set(found.ids)), "ids are not unique"
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), f"{tag} {name}"
        if name in ("src", "href", "xlink:href", "action"):
            assert value.startswith(("#", "data:image/png;base64,")), f"{tag} {name}={value[:60]}"
            assert not value.startswith("#") or value[1:] in found.ids, f"{value} leads nowhere"
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    styles = page[page.index("<style>") : page.index("</style>")]
    assert "prefers-color-scheme: dark" in styles and "@media print" in styles
    assert found.levels[0] == 1 and all(
        b - a <= 1 for a, b in zip(found.levels, found.levels[1:], strict=False)
    )
    assert page.count('role="img" aria-label="') == page.count('<div class="plot"')
    return found


@nasty
def test_html_shows_names_as_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stand in the page, never in a picture: those are left out here, for speed."""
    for picture in ("severity_plot", "reliability_plot", "legend_plot"):
        monkeypatch.setattr(f"lnbench.results.render.html.{picture}", lambda *_: "<svg></svg>")
    record, correct = nasty_record(name)
    page = check_page(to_html([record], [correct], sheet=b"\x89PNG"))
    assert one_line(name) in " ".join(page.text.split())


def test_html_of_several_runs() -> None:
    page = check_page(to_html([sample()[0], full()], [sample()[1], None], labels=["one", "two"]))
    assert "one · fixed" in page.text and "two · adapt:n=32" in page.text


def test_html_of_a_bare_record() -> None:
    """No bits, no bins, no labels, nothing but clean: the page has what there is."""
    run = make_run(conditions=(), modes=("fixed",))
    cells = [rescored(cell, nll=None, ece=None).model_copy(update={"bins": None}) for cell in make_cells(run)]
    page = check_page(to_html([make_record(run, cells)], [None]))
    assert "Losses by class" not in page.text and "Headline figures" in page.text
    empty = make_record(run, [])
    assert "incomplete: 1 of 1 cell is missing" in check_page(to_html([empty], [None])).text


def test_plot_colours_follow_the_page() -> None:
    record, correct = sample()
    page = to_html([record], [correct])
    assert page == to_html([record], [correct]), "not the same every time"
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--ink)" in pictures and "var(--s0)" in pictures and "#fe0" not in pictures
    assert set(re.findall(r"#[0-9a-f]{6}", pictures)) == set()


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
