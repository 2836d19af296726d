"""Documented figures have commands, every script and file that a page names is there, and a sample holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import check_figures

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
SCRIPT = re.compile(r"python -m (benchmarks\.\w+)|(?:python )?((?:benchmarks|docs)/\w+\.py)")
KEPT = re.compile(r"benchmarks/results/[\w.*]*\w")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_script_and_result_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module, path in SCRIPT.findall(text):
        name = path or module.replace(".", "/") + ".py"
        assert (ROOT / name).is_file(), f"{page.name} names {name}"
    for name in KEPT.findall(text):
        assert list(ROOT.glob(name)) or list(ROOT.glob(f"{name}.*")), f"{page.name} names {name}"


def test_every_page_with_measurements_is_in_the_table_of_commands() -> None:
    table = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    pages = [page for page in PAGES if page.name != "figures.md"]
    measured = [page.name for page in pages if KEPT.search(page.read_text(encoding="utf-8"))]
    assert [name for name in measured if name not in table] == []


def test_a_figure_that_is_not_on_its_page_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    page, found = check_figures.CHECKS["unbiased_variance"]
    assert check_figures.missing("unbiased_variance") == []
    monkeypatch.setitem(check_figures.CHECKS, "unbiased_variance", (page, lambda: [*found(), "0.07 %"]))
    assert check_figures.missing("unbiased_variance") == ["0.07 %"]


@pytest.mark.parametrize(
    "name",
    [
        "largest_normal_level",
        "spread_of_draws",
        "cost_of_modes",
        "dealing",
        "reduced_precision",
        "lines_of_a_baseline",
    ],
)
def test_what_takes_no_time_is_as_written(name: str) -> None:
    assert check_figures.missing(name) == []
