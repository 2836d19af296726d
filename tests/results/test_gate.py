"""A gate that stops when the answer is certain: against the intervals, in its errors, on what runs share."""

from __future__ import annotations

import numpy as np
import pytest

from lnbench.errors import RecordError
from lnbench.hashing import SHUFFLE, order
from lnbench.results import gate, sequences
from lnbench.results.bits import pack
from lnbench.results.common import counted_images, in_common, seeded_order
from lnbench.results.compare import compare
from lnbench.results.correct import Correct, from_cells
from lnbench.results.schema import Cell, Record, Rounds, Run
from lnbench.results.store import make_record
from tests.results.samples import make_cells, make_run


def runs(loss: float = 0.0, images: int = 3_000, noise: int = 2) -> tuple[Record, Record, Correct, Correct]:
    run = make_run(images=images, modes=("fixed", "batch"))
    old, new = make_cells(run), make_cells(run, loss=loss, noise=noise)
    return make_record(run, old), make_record(run, new), from_cells(old), from_cells(new)


def ended_early(run: Run, cells: tuple[Cell, ...], images: int) -> tuple[Record, Correct]:
    """The record of a run that counted the first `images` of the seeded order alone."""
    kept = np.sort(order(run.data.images, run.suite.seed, SHUFFLE)[:images])
    flags = {key: own[kept] for key, own in from_cells(cells).flags.items()}
    short = tuple(
        cell.model_copy(
            update={
                "images": images,
                "scores": {**cell.scores, "top1": float(flags[cell.key].mean())},
                "correct": pack(flags[cell.key]),
            }
        )
        for cell in cells
    )
    record = make_record(run, short)
    rounds = Rounds(images=images, of=run.data.images, why="interrupted")
    return record.model_copy(update={"rounds": rounds}), from_cells(short)


def test_a_loss_is_worse_and_no_loss_is_within_the_margin() -> None:
    worse = gate.judge(*runs(loss=0.08), margin=0.02)
    assert {answer.outcome for answer in worse.answers} == {"worse"} and not worse.passed
    same = gate.judge(*runs(), margin=0.04)
    assert {answer.outcome for answer in same.answers} == {"within"} and same.passed and same.decided
    assert all(answer.seen < answer.images == 3_000 for answer in (*worse.answers, *same.answers))
    assert [answer.what for answer in same.answers] == ["clean", "mean"] * 2


def test_a_run_does_not_differ_from_itself() -> None:
    base, _, old, _ = runs()
    found = gate.judge(base, base, old, old, margin=0.01)
    assert found.passed and all(answer.difference == 0 for answer in found.answers)


@pytest.mark.parametrize("margin", [0.002, 0.03])
def test_the_moment_is_the_first_at_which_the_interval_says_so(margin: float) -> None:
    random = np.random.default_rng(6)
    values = random.choice([-1.0, -0.5, 0.0, 0.5], 2_000, p=[0.05, 0.1, 0.8, 0.05])
    outcome, seen, interval = gate.decide(values, 2_000, margin, 0.01)
    literal = "undecided"
    for count in range(sequences.LOOK, 2_001, sequences.LOOK):
        low, high = sequences.difference_interval(values[:count], 2_000, 0.01)
        if high < 0 or low > -margin:
            literal = "within" if low > -margin else "worse"
            break
    assert (outcome, seen) == (literal, count)
    assert interval == sequences.difference_interval(values[:seen], 2_000, 0.01)


@pytest.mark.parametrize("mean, outcome", [(-0.01, "within"), (-0.02, "worse"), (0.0, "within")])
def test_the_whole_set_decides_what_is_true_of_it(mean: float, outcome: str) -> None:
    values = np.zeros(100)
    values[: abs(round(mean * 100))] = np.sign(mean)
    values = values[order(100, 1, SHUFFLE)]
    assert gate.decide(values, 100, 0.01, 0.05)[0] == outcome
    assert gate.decide(values[:48], 100, 0.01, 0.05)[:2] == ("undecided", 48)


def _outcomes(differences: np.ndarray, margin: float, orders: int) -> list[str]:
    random = np.random.default_rng(8)
    return [
        gate.decide(random.permutation(differences), len(differences), margin, 0.05)[0] for _ in range(orders)
    ]


def test_false_answers_are_rarer_than_one_in_twenty_and_a_real_loss_is_found() -> None:
    kinds = np.array([-1.0, 1.0, 0.0])
    same = np.repeat(kinds, [60, 60, 1_880])
    assert _outcomes(same, 0.0, 200).count("worse") <= 10
    assert _outcomes(same, 0.03, 200).count("within") >= 190
    beyond = np.repeat(kinds, [100, 39, 1_861])  # a loss of 3.05 points
    assert _outcomes(beyond, 0.03, 200).count("within") <= 10


def test_runs_that_ended_early_are_judged_on_what_both_counted() -> None:
    base, new, old, now = runs(loss=0.08)
    short, bits = ended_early(new.run, make_cells(new.run, loss=0.08, noise=2), 1_200)
    whole, early = gate.judge(base, new, old, now, 0.02), gate.judge(base, short, old, bits, 0.02)
    assert max(answer.seen for answer in whole.answers) <= 1_200
    assert early == whole
    few, bits = ended_early(new.run, make_cells(new.run, loss=0.08, noise=2), 32)
    found = gate.judge(base, few, old, bits, 0.02)
    assert not found.decided and found.passed and all(answer.seen == 32 for answer in found.answers)


def test_a_comparison_takes_the_images_in_common() -> None:
    base, new, old, now = runs(loss=0.08)
    short, bits = ended_early(new.run, make_cells(new.run, loss=0.08, noise=2), 1_200)
    found = compare(base, short, old, bits)
    first = seeded_order(base)[:1_200]
    for change in found.cells:
        assert change.condition is not None
        key = (change.mode, change.condition)
        assert change.base == pytest.approx(old.flags[key][first].mean())
        assert change.new == pytest.approx(now.flags[key][first].mean())
    assert not found.passed and compare(short, base, bits, old).passed
    assert compare(base, new, old, now).cells != found.cells


def test_images_in_common_are_told_from_records_alone_or_refused() -> None:
    base, new, old, now = runs()
    assert in_common(base, new, old, now) == (base, new, old, now)
    short, bits = ended_early(new.run, make_cells(new.run), 100)
    assert len(counted_images(short)) == 100 and len(counted_images(base)) == 3_000
    with pytest.raises(RecordError, match=r"correct\.npz"):
        in_common(base, short, None, bits)


def test_a_missing_cell_does_not_pass() -> None:
    base, new, old, now = runs()
    less = make_record(new.run, [cell for cell in make_cells(new.run) if cell.corruption != "contrast"])
    found = gate.judge(base, less, old, now, 0.05)
    assert not found.passed and found.missing


def test_what_does_not_pair_is_refused() -> None:
    base, new, old, now = runs()
    with pytest.raises(RecordError, match=r"correct\.npz"):
        gate.judge(base, new, None, now)
    other = make_record(make_run(images=3_000, modes=("fixed", "batch"), seed=1), new.cells)
    with pytest.raises(RecordError, match="different seed"):
        gate.judge(base, other, old, now)
