"""docs/api.md is current and its tour runs as it stands; so does the notebook, from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib import pyplot

from docs.make_api import PAGE, TOUR, render
from lnbench import metrics
from lnbench.corruptions import registry as corruptions
from lnbench.norm.modes import registry as modes
from tests.test_api_training import blocks

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "examples" / "robustness.ipynb"
# On fewer images and steps than a reader gets: what is tried is that all of it runs and shows.
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], as_version=4)
for long, short in (("[:60]", "[:20]"), ("steps=100", "steps=20")):
    (cell,) = (cell for cell in book.cells if long in cell.source)
    cell.source = cell.source.replace(long, short)
NotebookClient(book, timeout=100).execute()
outputs = [[out for out in cell.get("outputs", ()) if "data" in out] for cell in book.cells]
kinds = [kind for found in outputs for out in found for kind in out["data"]]
print(len([cell for cell in book.cells if cell.cell_type == "code"]), kinds.count("image/png"),
      kinds.count("text/html"), max(len(found) for found in outputs))
"""


@pytest.fixture
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((metrics, "METRICS"), (corruptions, "CORRUPTIONS"), (modes, "KINDS")):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "stale: run python docs/make_api.py"


@pytest.mark.usefixtures("_own_registries")
def test_the_tour_runs_as_it_stands_and_on_its_own() -> None:
    matplotlib.use("Agg")
    space: dict[str, Any] = {}
    parts = blocks()
    assert len(parts) == 9
    for number, block in enumerate(parts):
        exec(compile(block, f"{TOUR.name}, block {number + 1}", "exec"), space)
    pyplot.close("all")
    assert space["found"].passed and space["again"].gate.decided and len(space["images"]) == 64
    assert list(space["record"].summary.index) == ["fixed", "half-batch"]
    assert space["record"].summary.loc["fixed", "clean_top1"] > 0.8


def test_the_notebook_runs_from_a_model_to_a_figure() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    cells, pictures, tables, most = map(int, ran.stdout.split())
    assert (cells, pictures, tables) == (9, 2, 7)
    assert most == 2  # the header before the work, and what the cell's last line shows: once
