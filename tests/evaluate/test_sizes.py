"""A mode with batches of its own size counts what a run with batches of that size counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lnbench import config
from lnbench.errors import UsageError
from lnbench.evaluate import cut, evaluation, loop
from lnbench.evaluate.shard import Part
from lnbench.types import Condition
from tests.networks import write_task

SIZES = (7, 16, 30, 90)
KINDS = ("batch", "blend:N=16,scope=batch", "ema:m=0.05", "tent:lr=0.01,steps=1")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def counted(task: tuple[str, str, str], **options: object) -> dict[tuple[str, Condition], loop.Result]:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise"],
              "severities": [5], **options}  # fmt: skip
    ready = evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])
    return {
        (str(result.mode), condition): result
        for condition, found in loop.run(ready.subjects, ready.images, lambda s, m, c: False)
        for result in found[0][1]
    }


def sized(kind: str, size: int) -> str:
    return f"{kind}{',' if ':' in kind else ':'}size={size}"


def test_many_sizes_in_one_run_are_those_of_as_many_runs(task: tuple[str, str, str]) -> None:
    modes = [*KINDS, *(sized(kind, size) for kind in KINDS for size in SIZES)]
    together = counted(task, modes=["fixed", *modes], batch_size=20)
    for size in (20, *SIZES):
        alone = counted(task, modes=list(KINDS), batch_size=size)
        for (kind, condition), expected in alone.items():
            found = together[kind if size == 20 else sized(kind, size), condition]
            assert np.array_equal(found.correct, expected.correct), (kind, size)
            assert found.scores.values == expected.scores.values
            assert (found.batches, found.tenths) == (expected.batches, expected.tenths)
    clean = {condition for _, condition in together}
    assert any(
        together[sized("batch", 7), c].scores.values != together["batch", c].scores.values for c in clean
    )


def test_two_processes_deal_them_whole(task: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task with batches of its own is one process's, from the first batch to the last."""
    seen = []
    real = loop._lanes

    def lanes(tasks: object, part: Part, size: int, span: range) -> object:
        both = [
            real(tasks, Part(part.chunks, part.batches, streams), size, span)  # type: ignore[arg-type]
            for streams in (range(1), range(1, 3))
        ]
        own = [[task.mode.size for lane in found for task in lane.tasks if task.mode.size] for found in both]
        seen.append(own)
        return real(tasks, part, size, span)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_lanes", lanes)
    counted(task, modes=["batch", *(sized("batch", size) for size in (7, 16, 30))], batch_size=20)
    assert seen == [[[7], [16, 30]]] * 2


@pytest.mark.parametrize(
    ("mode", "options", "words"),
    [
        ("batch:size=91", {}, "the data has only 90 images"),
        ("tent:size=1", {}, "that is mode local"),
        ("batch:size=8", {"mixed": True}, "--mixed stream have batches of --batch-size"),
    ],
)
def test_a_size_that_cannot_be_is_refused(
    task: tuple[str, str, str], tmp_path: Path, mode: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        counted(task, modes=[mode], **options)
    assert "\n" not in str(caught.value)


def test_rounds_have_batches_of_one_size() -> None:
    given = {"model": "demo", "data": "demo", "modes": ["batch:size=8"]}
    with pytest.raises(UsageError, match="has batches of its own"):
        cut.check(config.resolve(config.load_preset("core"), given))
