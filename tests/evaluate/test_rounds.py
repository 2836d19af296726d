"""Rounds: all blocks together are the run without them, killed anywhere; it ends when enough is known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnbench import config
from lnbench.errors import RecordError, UsageError
from lnbench.evaluate import cut, evaluation, loop, rounds
from lnbench.evaluate.plan import Plan
from lnbench.evaluate.rounds import Against, Asked
from lnbench.hashing import SHUFFLE, order
from lnbench.results.correct import read_correct
from lnbench.results.reading import read
from lnbench.results.schema import Cell, Record
from lnbench.results.until import parse
from tests.networks import write_task
from tests.processes import Fault, run_world

IMAGES = 1_300
MODES = ["fixed", "batch", "adapt:n=8", "adapt:n=8,draws=2", "blend:N=16,scope=batch", "local"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"), images=IMAGES)


def prepared(task: tuple[str, str, str], **options: Any) -> evaluation.Prepared:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise", "contrast"],
              "severities": [5], "batch_size": 32, "modes": ["fixed", "batch"], **options}  # fmt: skip
    return evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])


def run(ready: evaluation.Prepared, out: Path | None, asked: Asked | None = None, **options: Any) -> Record:
    (outcome,) = evaluation.evaluate(ready, [out], asked=asked, **options)
    return outcome.record


def cells(record: Record) -> list[Cell]:
    return [cell.model_copy(update={"seconds": None}) for cell in record.cells]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    drop = ("seconds", "chain")
    read_ = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in drop} for line in read_]


def in_any_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda cell: (cell["mode"], cell["corruption"], cell["severity"]))


@pytest.mark.parametrize("images", [1, 63, 64, 500, 501, 1_300, 10_000, 50_000])
@pytest.mark.parametrize("unit", [1, 32, 64, 1_600])
def test_rounds_grow_and_end_on_the_grids(images: int, unit: int) -> None:
    found = cut.ends(images, unit)
    assert found[-1] == images and all(end % unit == 0 for end in found[:-1])
    steps = [after - before for before, after in itertools.pairwise([0, *found])]
    assert all(step > 0 for step in steps) and steps[1:-1] == sorted(steps[1:-1])
    assert len(found) <= 30 + images // max(unit, 500)


@pytest.fixture(scope="module")
def whole(task: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    """Every mode that has rounds, in a run without them."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(prepared(task, modes=MODES), folder), folder


def test_all_blocks_together_are_the_run_without_rounds(
    task: tuple[str, str, str], whole: tuple[Record, Path], tmp_path: Path
) -> None:
    record = run(prepared(task, modes=MODES), tmp_path / "run", Asked())
    assert cells(record) == cells(whole[0]) and record.rounds is None
    mine, theirs = (in_any_order(lines(folder, "cells.jsonl")) for folder in (tmp_path / "run", whole[1]))
    assert mine == theirs
    assert not (tmp_path / "run" / "blocks.jsonl").exists()
    assert record.summary == whole[0].summary and record.deviations == whole[0].deviations


def test_a_run_in_memory_alone_has_the_same_cells(
    task: tuple[str, str, str], whole: tuple[Record, Path]
) -> None:
    assert cells(run(prepared(task, modes=MODES), None, Asked())) == cells(whole[0])


class Killed(BaseException):
    """As kill -9 would: nothing is written after it."""


@contextmanager
def stopped_after(
    calls: int, kind: type[BaseException] = Killed
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Within it `kind` is raised, and expected, in place of the `calls`-th chunk that is counted."""
    seen = itertools.count(1)
    original = loop.Task.count

    def counted(self: loop.Task, *args: Any) -> None:
        if next(seen) == calls:
            raise kind
        original(self, *args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(kind) as stopped:
        patch.setattr(loop.Task, "count", counted)
        yield stopped


@pytest.mark.parametrize("calls", [1, 30, 75, 130, 170])
def test_killed_anywhere_it_goes_on_to_the_same_integers(
    task: tuple[str, str, str],
    whole: tuple[Record, Path],
    tmp_path: Path,
    calls: int,
) -> None:
    ready, folder = prepared(task, modes=["fixed", "batch"]), tmp_path / "run"
    with stopped_after(calls):
        run(ready, folder, Asked())
    before = len(lines(folder, "blocks.jsonl")) if (folder / "blocks.jsonl").exists() else 0
    with (folder / "blocks.jsonl").open("ab") as file:
        file.write(b'{"mode": "fi')  # a line that was being written
    record = run(prepared(task, modes=["fixed", "batch"]), folder)  # without asking for rounds again
    expected = [cell for cell in cells(whole[0]) if cell.mode in ("fixed", "batch")]
    assert cells(record) == expected and before < 6 * len(cut.ends(IMAGES, 64))


def first_images(record: Record, images: int) -> np.ndarray:
    found: np.ndarray = np.sort(order(record.data.images, record.suite.seed, SHUFFLE)[:images])
    return found


def check_early(record: Record, folder: Path, whole_folder: Path) -> None:
    """The record of a part says what the whole run says of its images, and where the whole lies."""
    assert record.rounds is not None and record.rounds.images < record.rounds.of == IMAGES
    kept = first_images(record, record.rounds.images)
    whole, early = read(whole_folder), read(folder)
    all_bits, bits = read_correct(whole_folder, whole), read_correct(folder, early)
    assert all_bits is not None and bits is not None and bits.ids is not None
    np.testing.assert_array_equal(bits.ids, kept)
    for cell in early.cells:
        np.testing.assert_array_equal(bits.flags[cell.key], all_bits.flags[cell.key][kept])
        assert cell.images == len(kept) and set(cell.scores) == set(whole.cells[0].scores)
    for mode, summary in early.summary.items():
        for name in ("clean", "mean_corruption"):
            low, high = getattr(summary, f"{name}_sequence")
            assert low <= getattr(whole.summary[mode], f"{name}_top1") <= high
            assert low <= getattr(summary, f"{name}_top1") <= high and low < high
            assert getattr(summary, f"{name}_interval") is not None
    assert any("images, the first of the seeded order" in text for text in early.deviations)


def test_a_run_ends_when_its_figures_are_known_and_goes_on_when_asked_for_more(
    task: tuple[str, str, str], whole: tuple[Record, Path], tmp_path: Path
) -> None:
    folder, modes = tmp_path / "run", ["fixed", "batch", "adapt:n=8"]
    first = run(prepared(task, modes=modes), folder, Asked((parse("5"),)))
    assert first.rounds is not None and first.rounds.why == "known to ± 5 points"
    check_early(first, folder, whole[1])
    for one in first.summary.values():
        assert one.clean_sequence is not None and one.clean_sequence[1] - one.clean_sequence[0] <= 0.1
    tighter = run(prepared(task, modes=modes), folder, Asked((parse("1.2"),)))
    assert tighter.rounds is not None and tighter.rounds.images > first.rounds.images
    check_early(tighter, folder, whole[1])
    again = run(prepared(task, modes=modes), folder, Asked((parse("5"),)))
    assert again.rounds is not None and again.rounds.images == tighter.rounds.images
    complete = run(prepared(task, modes=modes), folder)
    assert cells(complete) == [cell for cell in cells(whole[0]) if cell.mode in modes]
    assert complete.rounds is None and read(folder).rounds is None


def test_what_a_run_goes_on_with_is_not_foretold_again(task: tuple[str, str, str], tmp_path: Path) -> None:
    plans: list[Plan] = []
    observer = evaluation.Observer(started=lambda plan, cells: plans.append(plan))
    first = run(prepared(task), tmp_path / "run", Asked((parse("5"),)), observer=observer)
    assert first.rounds is not None
    run(prepared(task), tmp_path / "run", observer=observer)
    left = IMAGES - first.rounds.images
    assert [plan.forwards for plan in plans] == [6 * IMAGES, 6 * left]
    assert {(step.begun, step.left) for step in plans[1].steps} == {(first.rounds.images, left)}
    assert all(len(step.spent) == 2 and min(step.spent.values()) > 0 for step in plans[1].steps)


def test_compiling_is_weighed_against_the_passes_that_are_still_to_come(
    task: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[list[int]] = []

    def settle(subjects: Any, images: Any, left: Any, *_: object) -> dict[int, list[str]]:
        heard.append([left(subject, mode) for subject in subjects for mode in subject.modes])
        return {}

    monkeypatch.setattr(evaluation.compiling, "settle", settle)
    modes = ["fixed", "adapt:n=8"]
    for asked in (Asked((parse("7"),)), Asked((parse("7"),)), Asked(), None):
        run(prepared(task, modes=modes), tmp_path / "run", asked)
    ends = cut.ends(IMAGES, 64)
    looked = 3 * 8  # what adapt looks at of each condition, beside what it counts
    first, then, rest, nothing = heard
    # Of a run that may end at each round the next one is sure, and its part of what adapt looks at.
    assert first[0] == 3 * ends[0] < first[1] <= 3 * ends[0] + looked
    assert then[0] == 3 * (ends[1] - ends[0])
    assert rest == [3 * (IMAGES - ends[0]), 3 * (IMAGES - ends[0]) + looked]
    assert nothing == [0, 0]


def test_cells_may_have_their_own_width(task: tuple[str, str, str], tmp_path: Path) -> None:
    record = run(prepared(task), None, Asked((parse("fixed/contrast/*:5"), parse("fixed/clean:5pp"))))
    assert record.rounds is not None and record.rounds.images < IMAGES
    with pytest.raises(UsageError, match="matches no cell"):
        run(prepared(task), None, Asked((parse("fixed/fog:1"),)))


@pytest.mark.parametrize("text", ["", "0", "x", "51", "-1", "fixed/a/1/2:1", "nan", "1%", "a:", ":"])
def test_targets_are_points(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        parse(text)


def test_targets_are_read() -> None:
    assert (parse("1.0").scope, parse("1.0").width) == (None, 0.01)
    assert parse("adapt:n=32/fog/*: 2pp").scope == "adapt:n=32/fog/*" and parse(".5").width == 0.005


def test_interrupted_it_says_what_it_knows(
    task: tuple[str, str, str], whole: tuple[Record, Path], tmp_path: Path
) -> None:
    with stopped_after(110, KeyboardInterrupt) as stopped:
        run(prepared(task), tmp_path / "run", Asked())
    assert isinstance(stopped.value, rounds.Interrupted)
    (outcome,) = stopped.value.outcomes
    assert isinstance(outcome, evaluation.Outcome)
    assert outcome.record.rounds is not None and outcome.record.rounds.why == "interrupted"
    check_early(outcome.record, tmp_path / "run", whole[1])


def test_interrupted_in_its_first_round_it_knows_nothing(task: tuple[str, str, str], tmp_path: Path) -> None:
    with stopped_after(5, KeyboardInterrupt) as stopped:
        run(prepared(task), tmp_path / "run", Asked())
    assert not isinstance(stopped.value, rounds.Interrupted)


def test_a_baseline_ends_the_run_when_the_comparison_is_decided(
    task: tuple[str, str, str], whole: tuple[Record, Path]
) -> None:
    base, bits = whole[0], read_correct(whole[1], read(whole[1]))
    base = base.model_copy(
        update={
            "suite": base.suite.model_copy(update={"modes": ("fixed",)}),
            "cells": tuple(cell for cell in base.cells if cell.mode == "fixed"),
        }
    )
    found = run(prepared(task, modes=["fixed"]), None, Asked(against=Against(base, bits, 0.03)))
    assert found.rounds is not None and found.rounds.images < IMAGES
    assert found.rounds.why == "decided against the baseline"
    with pytest.raises(RecordError, match="cannot be compared with the baseline: different seed"):
        run(prepared(task, modes=["fixed"], seed=1), None, Asked(against=Against(base, bits, 0.03)))


Options = dict[str, Any]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"modes": ["fixed", "tent"]}, "tent.* learns along the stream"),
        ({"order": "sorted"}, "do not go with --order sorted"),
        ({"mixed": True}, "do not go with --mixed"),
        ({"batch_size": 33}, "use --batch-size 32"),
    ],
)
def test_what_has_no_rounds_is_refused_with_the_reason(
    task: tuple[str, str, str], tmp_path: Path, options: Options, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(prepared(task, **options), tmp_path / "run", Asked())


def test_finished_cells_are_not_counted_again(
    task: tuple[str, str, str], whole: tuple[Record, Path], tmp_path: Path
) -> None:
    """A run without rounds that was stopped goes on in rounds; finished cells are known for all images."""
    folder = tmp_path / "run"
    with stopped_after(80):
        run(prepared(task), folder)
    assert len(lines(folder, "cells.jsonl")) == 2
    early = run(prepared(task), folder, Asked((parse("5"),)))
    assert early.rounds is not None and {cell.images for cell in early.cells} == {early.rounds.images}
    complete = run(prepared(task), folder)
    assert in_any_order([cell.model_dump() for cell in cells(complete)]) == in_any_order(
        [cell.model_dump() for cell in cells(whole[0]) if cell.mode in ("fixed", "batch")]
    )


def test_blocks_of_another_grid_or_changed_ones_are_refused(
    task: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    run(prepared(task), folder, Asked((parse("6"),)))
    with monkeypatch.context() as patch:
        patch.setattr(cut, "_FIRST", 700)
        with pytest.raises(RecordError, match="blocks that fit other chunks"):
            run(prepared(task), folder, Asked())
    file = folder / "blocks.jsonl"
    file.write_text(file.read_text().replace('"start":0', '"start":1', 1))
    with pytest.raises(RecordError, match=r"blocks\.jsonl line 1"):
        run(prepared(task), folder, Asked())


def test_cells_so_far_are_told_after_each_block(task: tuple[str, str, str]) -> None:
    heard: list[tuple[str, int]] = []

    def counted(condition: object, kept: evaluation.Kept) -> None:
        heard.extend((str(condition), cell.images) for _, own in kept for cell in own)

    observer = replace(evaluation.Observer(), counted=counted)
    run(prepared(task, modes=["fixed"]), None, Asked(), observer=observer)
    ends = cut.ends(IMAGES, 64)
    assert heard == [(name, end) for end in ends for name in ("clean", "gaussian_noise/5", "contrast/5")]


def words(task: tuple[str, str, str], folder: Path) -> list[object]:
    model, weights, data = task
    return ["evaluate", "--preset", "core", "--model", model, "--weights", weights, "--data", data,
            "--corruption", "gaussian_noise", "--corruption", "contrast", "--severity", 5, "--batch-size", 32,
            "--norm", "fixed", "--norm", "batch", "--out", folder]  # fmt: skip


def test_any_number_of_processes_count_the_same(
    task: tuple[str, str, str], whole: tuple[Record, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    ended = run_world(2, [*words(task, folder), "--until", "5"], tmp_path / "two")
    assert [one.code for one in ended] == [0, 0], ended[0].err
    check_early(read(folder), folder, whole[1])
    fault = Fault(rank=1, call=40)
    assert run_world(3, [*words(task, folder), "--rounds"], tmp_path / "three", fault=fault)[1].code == -9
    assert not (folder / "cells.jsonl").exists() or len(lines(folder, "cells.jsonl")) < 6
    complete = run(prepared(task), folder)
    assert [cell.model_dump() for cell in cells(complete)] == [
        cell.model_dump() for cell in cells(whole[0]) if cell.mode in ("fixed", "batch")
    ]


def test_a_run_that_was_killed_is_read_as_far_as_all_its_cells_are(
    task: tuple[str, str, str], whole: tuple[Record, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with stopped_after(120):
        run(prepared(task), folder, Asked())
    before = (folder / "blocks.jsonl").read_bytes()
    (folder / "blocks.jsonl").write_bytes(before + b'{"mode":"fi')
    with pytest.raises(RecordError, match="unfinished run"):
        read(folder)
    early = read(folder, unfinished=True)
    assert (folder / "blocks.jsonl").read_bytes() == before + b'{"mode":"fi'
    assert early.rounds is not None and early.rounds.why == "not finished" and len(early.cells) == 6
    shown = {cell.key: cell for cell in early.cells}
    again = run(prepared(task), folder, Asked((parse("49"),)))  # goes on to the end of its round, or none
    assert again.rounds is not None and again.rounds.images == early.rounds.images
    for cell in again.cells:
        own = shown[cell.key]
        assert (own.scores, own.bins, own.correct, own.images, own.batch_size) == (
            cell.scores, cell.bins, cell.correct, cell.images, cell.batch_size
        )  # fmt: skip
