"""How a stream's images come: order, sequence and mixture, against the plain computation and each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lnbench import config
from lnbench.config import RunConfig
from lnbench.errors import UsageError
from lnbench.evaluate import count, evaluation, loop, mixed
from lnbench.evaluate.folders import run_name
from lnbench.evaluate.stream import Stream
from lnbench.norm.modes.registry import KINDS, parse
from lnbench.norm.state import State
from lnbench.types import CLEAN, Condition
from tests.cli import conftest as cli
from tests.cli.conftest import Lnbench
from tests.networks import write_task

STREAMS = ("test-average:share=0.3", "test-steps:rate=0.05")
MODES = ("fixed", "batch", *STREAMS)
NOISE, CONTRAST = Condition("gaussian_noise", 5), Condition("contrast", 5)
lnbench = cli.lnbench  # the fixture

Found = dict[tuple[str, Condition], loop.Result]


@pytest.fixture(scope="module", autouse=True)
def _two_modes_that_adapt() -> Iterator[None]:
    """For these tests only: others ask the registry what modes there are."""
    before = dict(KINDS)
    import_module("tests.evaluate.throwaway")
    yield
    for name in set(KINDS) - set(before):
        del KINDS[name]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"), images=110)


def resolved(task: tuple[str, str, str], **options: object) -> RunConfig:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "severities": [5], "batch_size": 20,
              "corruptions": ["gaussian_noise", "contrast"], "modes": MODES, **options}  # fmt: skip
    return config.resolve(config.load_preset("core"), chosen)


def results(ready: evaluation.Prepared, finished: Any = lambda s, m, c: False) -> Found:
    found: Found = {}
    given = ready.subjects, ready.images, finished
    runs = [loop.run(*given)]
    if ready.subjects[0].config.mixed:
        runs.append(mixed.run(*given, lambda progress: None, loop.Settings()))
    for one in runs:
        for condition, owned in one:
            for _, cells in owned:
                for cell in cells:
                    assert (str(cell.mode), condition) not in found
                    found[str(cell.mode), condition] = cell
    return found


def measured(task: tuple[str, str, str], **options: object) -> Found:
    return results(evaluation.prepare_all([resolved(task, **options)]))


def same(one: loop.Result, other: loop.Result) -> bool:
    return bool(np.array_equal(one.correct, other.correct)) and one.scores == other.scores


def plainly(ready: evaluation.Prepared, name: str, conditions: list[Condition], state: State) -> list[Any]:
    """The answers to every batch of the conditions one after another, by one state, without the loop."""
    subject = ready.subjects[0]
    mode = next(mode for mode in subject.modes if str(mode) == name)
    task = count.Task.start(subject, mode, count.Pieces(), 0, 0, state)
    answers = []
    with torch.no_grad():
        for condition in conditions:
            stream = Stream(ready.images.of(condition), condition, subject.config, torch.device("cpu"),
                            seed=subject.config.seed, corrupted=False)  # fmt: skip
            for start in range(0, len(stream.order), 20):
                positions = stream.order[start : start + 20]
                answers.append(
                    (
                        condition,
                        positions,
                        task.predict(0, stream.pixels(positions), stream.indices(positions)).predicted,
                    )
                )
    return answers


@pytest.mark.parametrize("mode", STREAMS)
def test_a_continual_sequence_is_one_state_through_the_conditions(
    task: tuple[str, str, str], mode: str
) -> None:
    ready = evaluation.prepare_all([resolved(task, sequence="continual")])
    found = results(ready)
    labels = ready.images.clean.labels
    for condition, positions, predicted in plainly(ready, mode, [NOISE, CONTRAST], State()):
        expected = predicted.numpy() == labels[positions]
        assert np.array_equal(found[mode, condition].correct[positions], expected)


def test_what_a_sequence_changes_and_what_not(task: tuple[str, str, str]) -> None:
    usual, continual = measured(task), measured(task, sequence="continual")
    for (mode, condition), cell in usual.items():
        later = mode in STREAMS and condition == CONTRAST
        assert same(cell, continual[mode, condition]) != later, (mode, condition)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_unfinished_sequence_is_counted_from_its_start(task: tuple[str, str, str], done: int) -> None:
    ready = evaluation.prepare_all([resolved(task, sequence="continual")])
    whole = results(ready)
    kept = {(mode, condition) for mode, condition in whole if condition in [CLEAN, NOISE, CONTRAST][:done]}
    rest = results(ready, lambda s, m, c: (str(m), c) in kept)
    assert set(rest) == set(whole) - kept
    assert all(same(rest[key], whole[key]) for key in rest)


@pytest.mark.parametrize("order", ["sorted", "dirichlet:delta=0.1"])
def test_an_order_is_for_modes_whose_answer_depends_on_it(task: tuple[str, str, str], order: str) -> None:
    usual, other = measured(task, modes=["fixed", "adapt:n=16", "batch", *STREAMS]), measured(
        task, modes=["fixed", "adapt:n=16", "batch", *STREAMS], order=order
    )  # fmt: skip
    for (mode, condition), cell in usual.items():
        if mode in ("fixed", "adapt:n=16"):
            assert np.array_equal(cell.correct, other[mode, condition].correct)
        else:
            assert cell.scores != other[mode, condition].scores
    # Batches of one class are normalized by that class: what the literature sees everywhere.
    assert other["batch", CLEAN].scores.values["top1"] < usual["batch", CLEAN].scores.values["top1"]


def test_the_course_of_a_cell_is_its_accuracy_along_the_order(task: tuple[str, str, str]) -> None:
    ready = evaluation.prepare_all([resolved(task, order="sorted")])
    cell = results(ready)["batch", CLEAN]
    labels = ready.images.clean.labels
    along = cell.correct[np.argsort(labels, kind="stable")]  # classes one after another
    assert len(cell.tenths) == 10 and cell.batches == 6
    assert np.isclose(np.mean(cell.tenths), along.mean())  # 110 images: tenths of eleven
    stream = Stream(ready.images.clean, CLEAN, ready.subjects[0].config, torch.device("cpu"), seed=0,
                    corrupted=False)  # fmt: skip
    assert cell.tenths[0] == pytest.approx(cell.correct[stream.order[:11]].mean(), abs=1e-6)
    assert results(ready)["fixed", CLEAN].tenths == ()


@pytest.mark.parametrize("mode", ["batch", *STREAMS])
def test_a_mixed_stream_is_one_stream_of_all_conditions(task: tuple[str, str, str], mode: str) -> None:
    """220 images in batches of 20, each under its own condition, written plainly."""
    ready = evaluation.prepare_all([resolved(task, mixed=True)])
    found, subject, store = results(ready), ready.subjects[0], ready.images.clean
    streams = [
        Stream(store, condition, subject.config, torch.device("cpu"), seed=0, corrupted=False)
        for condition in (NOISE, CONTRAST)
    ]
    everything = torch.cat([stream.pixels(np.arange(110)) for stream in streams])
    order = mixed.Mixture(streams).order
    assert sorted(order) == list(range(220))
    kind = next(one for one in subject.modes if str(one) == mode)
    one = count.Task.start(subject, kind, count.Pieces(), 0, 0)
    right = np.zeros(220, bool)
    with torch.no_grad():
        for start in range(0, 220, 20):
            batch = order[start : start + 20]
            answer = one.predict(0, everything[batch], torch.from_numpy(batch)).predicted.numpy()
            right[batch] = answer == store.labels[batch % 110]
    assert np.array_equal(found[mode, NOISE].correct, right[:110])
    assert np.array_equal(found[mode, CONTRAST].correct, right[110:])
    assert found[mode, NOISE].batches == 11


def test_what_a_mixture_changes_and_what_not(task: tuple[str, str, str]) -> None:
    usual, together = measured(task), measured(task, mixed=True)
    assert set(usual) == set(together)
    for (mode, condition), cell in usual.items():
        mixing = mode != "fixed" and condition != CLEAN
        assert same(cell, together[mode, condition]) != mixing, (mode, condition)


def test_a_short_last_batch_of_a_mixture(task: tuple[str, str, str]) -> None:
    """220 images in batches of 50: twenty are left; `batch` completes them, each image counted once."""
    found = measured(task, mixed=True, batch_size=50)
    assert {cell.scores.images for cell in found.values()} == {110}


@pytest.mark.parametrize("options", [{}, {"sequence": "continual"}, {"mixed": True}])
def test_no_weight_and_no_buffer_changes_in_any_mode(
    task: tuple[str, str, str], options: dict[str, object]
) -> None:
    few = {"eata": "eata:fisher=40"}  # of the 110 images there are
    ready = evaluation.prepare_all([resolved(task, modes=[few.get(name, name) for name in KINDS], **options)])

    def digest() -> str:
        state = ready.subjects[0].classifier.network.state_dict()
        parts = (name.encode() + value.numpy().tobytes() for name, value in state.items())
        return hashlib.sha256(b"".join(parts)).hexdigest()

    before = digest()
    results(ready)
    assert digest() == before


def test_a_mode_may_forget_at_each_condition_of_a_sequence(task: tuple[str, str, str]) -> None:
    modes = ["tent:lr=0.01", "tent:lr=0.01,reset=condition"]
    never, always = [str(parse(mode)) for mode in modes]
    alone, found = measured(task, modes=modes), measured(task, modes=modes, sequence="continual")
    assert same(found[always, CONTRAST], alone[never, CONTRAST])
    assert not same(found[never, CONTRAST], alone[never, CONTRAST])


def test_the_course_says_where_a_mode_forgot(task: tuple[str, str, str]) -> None:
    """110 images in batches of 20: six batches, then six more, where nothing is reset between."""
    mode = str(parse("tent:lr=0.01,reset=4"))
    alone = measured(task, modes=[mode])
    assert [alone[mode, condition].resets for condition in (CLEAN, NOISE, CONTRAST)] == [(4,)] * 3
    assert alone[mode, NOISE].counts["resets"] == 1
    found = measured(task, modes=[mode], sequence="continual")
    assert (found[mode, NOISE].resets, found[mode, CONTRAST].resets) == ((4,), (2,))
    mixture = measured(task, modes=[mode], mixed=True)
    assert mixture[mode, NOISE].resets == mixture[mode, CONTRAST].resets == (4, 8)


def test_the_course_says_where_a_mode_recovered(task: tuple[str, str, str]) -> None:
    """A network that is sure of everything has collapsed at every batch."""
    mode, protocols = str(parse("sar:margin=1,reset=4")), ({}, {"sequence": "continual"}, {"mixed": True})
    for protocol in protocols:
        prepared = evaluation.prepare_all([resolved(task, modes=[mode], **protocol)])
        prepared.subjects[0].classifier.network[-1].weight.data *= 1e4  # type: ignore[index, union-attr, operator]
        found = results(prepared)[mode, CONTRAST]
        every = range(11) if "mixed" in protocol else range(6)
        assert found.recoveries == tuple(every) and found.counts["recoveries"] == len(every)
        assert found.resets == ((4, 8) if "mixed" in protocol else (2,) if protocol else (4,))


def test_a_config_says_only_what_is_not_usual(task: tuple[str, str, str]) -> None:
    """So that a run of before there was a choice has the same identity and the same name."""
    usual = resolved(task)
    assert not {"order", "sequence", "mixed"} & set(usual.model_dump(mode="json"))
    assert usual.weights is not None and "limit" in usual.model_dump()  # what is None stays
    assert run_name(resolved(task, order="shuffled", sequence="reset")) == run_name(usual)
    names = {
        run_name(resolved(task, **options))
        for options in ({}, {"order": "sorted"}, {"sequence": "continual"}, {"mixed": True})
    }
    assert len(names) == 4
    other = resolved(task, order="dirichlet", mixed=True)
    assert other.model_dump()["order"] == "dirichlet:delta=0.1"
    assert RunConfig.model_validate(other.model_dump()) == other


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sequence": "continual", "shard": "1/2"}, "cannot be cut"),
        ({"mixed": True, "shard": "1/2"}, "cannot be cut"),
        ({"mixed": True, "sequence": "continual"}, "one stream already"),
        ({"order": "backwards"}, "order 'backwards'"),
        ({"sequence": "never"}, "sequence"),
    ],
)
def test_what_cannot_be_is_refused(task: tuple[str, str, str], options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolved(task, **options)


def test_the_protocol_is_in_the_record_the_table_and_the_reports(
    lnbench: Lnbench, task: tuple[str, str, str], tmp_path: Path
) -> None:
    model, weights, data = task
    command = ["evaluate", "--model", model, "--weights", weights, "--data", data, "--batch-size", 20,
               "--corruption", "contrast", "--severity", 5, "--norm", "fixed,test-steps",
               "--order", "dirichlet:delta=.1", "--sequence", "continual"]  # fmt: skip
    ran = lnbench(*command, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    said = "batches of 20; order dirichlet:delta=0.1; continual over the corrupted conditions"
    assert said in " ".join(ran.out.split())
    assert " · order dirichlet:delta=0.1 · continual · batches of 20" in " ".join(ran.err.split())
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["config"]["order"] == "dirichlet:delta=0.1"
    assert record["config"]["sequence"] == "continual"
    assert any("order dirichlet:delta=0.1" in line for line in record["deviations"])
    cell = record["cells"][-1]
    assert cell["course"]["unit"] == "stream" and len(cell["course"]["tenths"]) == 10
    assert said in (tmp_path / "run" / "report.md").read_text()
    other = lnbench(*command[:-4], "--out", tmp_path / "other")
    assert other.code == 0, other.err
    refused = lnbench("compare", tmp_path / "other", tmp_path / "run")
    assert refused.code == 3
    assert "different order (shuffled and dirichlet:delta=0.1)" in refused.err
