"""The network compiled where it pays: the same cells, one graph for each mode, and a record that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from lnbench import config
from lnbench.dist import ALONE
from lnbench.errors import UsageError
from lnbench.evaluate import compiling, evaluation
from lnbench.evaluate.compiling import Trial, takes
from lnbench.norm.modes.registry import make, names, parse
from tests.networks import write_task

MODES = ["fixed", "batch", "local", "adapt:n=8", "blend:N=16", "tent:lr=0.001"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # 90 images: chunks of 64 and 26, batches of 40, of which the last is completed.
    model, weights, data = write_task(tmp_path_factory.mktemp("task"))
    return {"model": model, "weights": weights, "data": data, "corruptions": ["contrast", "brightness"],
            "severities": [3], "modes": MODES, "batch_size": 40, "device": "cpu"}  # fmt: skip


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The input's shape of every graph that is compiled, by nobody."""
    seen: list[tuple[int, ...]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        seen.append(next(tuple(x.shape) for x in inputs if x.shape[1:] == (3, 32, 32)))
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(compiling, "BACKEND", backend)
    yield seen
    torch.compiler.reset()


def evaluated(task: dict[str, Any], wanted: compiling.Wanted, **options: Any) -> Any:
    chosen = config.resolve(config.load_preset("core"), {**task, **options})
    return evaluation.evaluate(evaluation.prepare_all([chosen]), [None], compile=wanted)[0].record


def test_a_compiled_run_counts_the_same_with_one_graph_for_each_mode(
    task: dict[str, Any], graphs: list[tuple[int, ...]]
) -> None:
    usual = evaluated(task, "off")
    assert not graphs
    found = evaluated(task, "on")
    for one, other in zip(usual.cells, found.cells, strict=True):
        assert (one.key, one.correct) == (other.key, other.correct)
        assert one.scores == pytest.approx(other.scores)
    # What learns is left alone; short chunks are filled up, batches are whole.
    assert sorted(graphs) == sorted([(64, 3, 32, 32)] * 4 + [(40, 3, 32, 32)])
    said = [text for text in found.deviations if "compiled by torch.compile" in text]
    assert [text.partition(": network")[0] for text in said] == MODES[:-1]
    assert all("0 answers change" in text for text in said)


def test_on_a_cpu_nothing_is_compiled_unasked(task: dict[str, Any], graphs: list[tuple[int, ...]]) -> None:
    assert evaluated(task, "auto").deviations == evaluated(task, "off").deviations
    assert not graphs


def settled(
    task: dict[str, Any], monkeypatch: pytest.MonkeyPatch, left: int, *seconds: float
) -> tuple[dict[int, list[str]], evaluation.Prepared]:
    """What `auto` decides for `fixed` where a device makes it worth while, with passes of these seconds."""
    monkeypatch.setattr(compiling, "pays_on", lambda device: True)
    times = iter(seconds)
    monkeypatch.setattr(compiling, "_seconds", lambda *_: next(times))
    chosen = config.resolve(config.load_preset("core"), {**task, "modes": ["fixed"]})
    ready = evaluation.prepare_all([chosen])
    return compiling.settle(ready.subjects, ready.images, lambda s, m: left, "auto", ALONE), ready


@pytest.mark.parametrize(
    ("left", "seconds", "tried", "kept"),
    [
        (64 * 299, (1.0,), False, False),  # five minutes at least, in passes of 64 images
        (64 * 301, (1.0, 0.5), True, True),
        (64 * 301, (1.0, 0.96), True, False),
        (0, (), False, False),
    ],
)
def test_auto_decides_by_what_is_left_and_by_what_it_measures(
    task: dict[str, Any],
    graphs: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
    left: int,
    seconds: tuple[float, ...],
    tried: bool,
    kept: bool,
) -> None:
    notes, ready = settled(task, monkeypatch, left, *seconds)
    assert (bool(graphs), bool(notes), bool(ready.subjects[0].compiled)) == (tried, kept, kept)


def test_a_compiler_that_fails_is_noted_and_the_run_goes_on(
    task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no\ncompiler")

    torch.compiler.reset()
    monkeypatch.setattr(compiling, "BACKEND", broken)
    usual, found = (evaluated(task, wanted, modes=["fixed"]) for wanted in ("off", "on"))
    assert [cell.correct for cell in usual.cells] == [cell.correct for cell in found.cells]
    (said,) = set(found.deviations) - set(usual.deviations)
    assert said.startswith("fixed: not compiled, BackendCompilerFailed: ") and "no compiler" in said


def test_outputs_too_far_apart_are_not_taken_unasked_and_said_aloud(
    task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        return lambda *given: tuple(1.01 * out for out in graph.forward(*given))

    torch.compiler.reset()
    monkeypatch.setattr(compiling, "BACKEND", wrong)
    (said,) = [text for text in evaluated(task, "on", modes=["fixed"]).deviations if "compiled" in text]
    assert "MORE than the 0.0001 to be expected" in said
    notes, _ = settled(task, monkeypatch, 64 * 301, 1.0, 0.5)
    assert not notes
    torch.compiler.reset()


@pytest.mark.parametrize("name", names())
def test_what_learns_draws_or_looks_twice_is_left_alone(name: str) -> None:
    mode = make(name)
    assert takes(mode) == (mode.unit != "stream" and not mode.is_learning)
    assert not any(takes(parse(text)) for text in ("adapt:n=8,draws=2", "local:views=2", "blend:views=1"))


def test_several_processes_do_what_the_first_decides() -> None:
    trial = Trial(1.0, 0.5, 1e-6, 0, 64)
    assert "compiled" in str(compiling._verdict(parse("fixed"), trial, "fp32", "auto"))
    assert compiling._verdict(parse("fixed"), Trial(1.0, 0.99, 1e-6, 0, 64), "fp32", "auto") is None


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown choice of --compile 'yes': known: auto, off, on"):
        compiling.parse("yes")
