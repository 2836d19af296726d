"""What a person sees while a run goes on: lines where nothing can move, a picture where it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnbench import config
from lnbench.evaluate import evaluation, loop
from lnbench.progress import Watch
from lnbench.types import CLEAN, Condition
from tests.networks import write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def run(task: tuple[str, str, str], watch: Watch, out: Path | None = None) -> None:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["contrast"],
              "severities": [1, 5], "batch_size": 30, "modes": ["fixed", "batch"]}  # fmt: skip
    with watch:
        observer = watch.observer()
        ready = evaluation.prepare_all(
            [config.resolve(config.load_preset("core"), chosen)], observer=observer
        )
        evaluation.evaluate(ready, [out], observer=observer)


def test_where_nothing_can_move_every_condition_is_a_line(
    task: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(task, Watch(), tmp_path / "run")
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == "" and "\x1b" not in said.err
    assert lines[1] == "3 conditions, 6 cells, 90 images, 540 forward passes; images take 0 MiB of memory"
    assert lines[2].startswith("about 0:0") and lines[3].startswith("memory at peak")
    counted = lines[4:]
    assert [text.split(":")[0] for text in counted] == ["clean", "contrast/1", "contrast/5"]
    assert counted[0].startswith("clean: fixed 100.00 ±2.0, batch ")
    assert "(1 of 3 conditions, 0:0" in counted[0]
    assert counted[-1].endswith("(3 of 3 conditions, 0:00 left)")

    file = tmp_path / "run" / "cells.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    run(task, Watch(), tmp_path / "run")
    again = capsys.readouterr().err.splitlines()
    assert again[2] == "4 of 6 cells are finished already"
    assert [text.split(":")[0] for text in again[5:]] == ["contrast/5"]
    assert "(3 of 3 conditions" in again[-1]


def test_on_a_terminal_the_table_fills_and_is_gone_at_the_end(
    task: tuple[str, str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    drawn: list[str] = []

    class Seen(Watch):
        def _draw(self, name: str) -> None:
            super()._draw(name)
            if self._live is not None:
                self._live.refresh()
                drawn.append(name)

    run(task, Seen())
    said = capsys.readouterr().err
    assert {"", "clean", "contrast/1", "contrast/5"} <= set(drawn)
    assert "mean so far" in said and "left" in said and "contrast/5" in said
    assert "conditions, 0:" not in said  # the lines of a place where nothing moves
    assert said.rstrip().endswith("\x1b[2K")  # the picture is taken away


def test_one_that_is_not_shown_says_nothing(
    task: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(False)
    run(task, watch)
    assert not watch.observer().measured  # nothing is tried for a plan that nobody sees
    assert capsys.readouterr() == ("", "")


def test_work_of_other_kinds_has_the_bar_alone(capsys: pytest.CaptureFixture[str]) -> None:
    fog = Condition("fog", 1)
    with Watch() as watch:
        watch.counting([CLEAN, fog], 50)
        watch.progressed(loop.Progress(CLEAN, 25, 50))
        watch.finished(CLEAN)
        watch.finished(fog)
    assert capsys.readouterr() == ("", "")
