"""The HTML page: whole, reaching for nothing outside, readable without seeing it, names as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import ClassVar

import pytest

from lnbench.files import one_line
from lnbench.results.render.html import to_html
from lnbench.results.store import make_record
from tests.results.golden import full, sample
from tests.results.nasty import nasty, nasty_record
from tests.results.samples import make_cells, make_run, rescored


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
