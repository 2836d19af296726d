"""What a run is going to do: counted, timed and weighed before it does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lnbench import config
from lnbench.evaluate import evaluation
from lnbench.evaluate.footprint import Footprint, footprint, most_alive
from lnbench.evaluate.plan import Begun, clock, plan, sentences, size
from lnbench.evaluate.trial import corrupting
from lnbench.norm.modes.registry import names, parse
from lnbench.types import CLEAN, Condition
from tests.networks import write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def prepared(task: tuple[str, str, str], **options: Any) -> evaluation.Prepared:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise", "contrast"],
              "severities": [1, 5], "batch_size": 30, "modes": ["fixed", "batch"], **options}  # fmt: skip
    return evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])


def test_what_is_finished_costs_nothing(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    whole = plan(ready.subjects, ready.images)
    assert (whole.cells, whole.cells_left, whole.conditions_left) == (10, 10, 5)
    assert [step.condition for step in whole.steps] == list(ready.images.conditions)
    assert whole.forwards == 10 * 90
    assert all(set(step.seconds) == {(0, "fixed"), (0, "batch")} for step in whole.steps)
    assert all(step.lumps == {(0, "batch"): 30} for step in whole.steps)
    done = {("fixed", condition) for condition in ready.images.conditions} | {("batch", CLEAN)}
    rest = plan(ready.subjects, ready.images, [done], measure=False)
    assert (rest.cells_left, rest.conditions_left, rest.forwards) == (4, 4, 4 * 90)
    assert [step.condition for step in rest.steps] == list(ready.images.conditions[1:])
    assert all(dict(step.seconds) == {(0, "batch"): 90.0} for step in rest.steps)
    assert rest.seconds is None and rest.memory is None
    assert "6 of 10 cells are finished already" in sentences(rest)


def test_what_rounds_have_counted_costs_nothing(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    last = ready.images.conditions[-1]
    begun = {(0, mode, c): Begun(60, 1.5) for mode in ("fixed", "batch") for c in ready.images.conditions}
    begun[0, "fixed", last] = Begun(90, 2.0)
    rest = plan(ready.subjects, ready.images, measure=False, begun=begun)
    assert rest.cells_left == 10 and rest.forwards == 9 * 30
    assert "60 of 90 images are counted already" in sentences(rest)
    assert all((step.images, step.begun, step.left) == (90, 60, 30) for step in rest.steps)
    assert all(dict(step.seconds) == {(0, "fixed"): 30.0, (0, "batch"): 30.0} for step in rest.steps[:-1])
    assert dict(rest.steps[-1].seconds) == {(0, "fixed"): 0.0, (0, "batch"): 30.0}
    assert dict(rest.steps[-1].spent) == {(0, "fixed"): 2.0, (0, "batch"): 1.5}


def test_a_sequence_that_is_not_finished_is_paid_for_whole(task: tuple[str, str, str]) -> None:
    ready = prepared(task, modes=["fixed", "tent"], sequence="continual")
    tent = str(parse("tent"))
    done = {(mode, c) for mode in ("fixed", tent) for c in ready.images.conditions[:-1]}
    again = plan(ready.subjects, ready.images, [done], measure=False)
    assert again.cells_left == 2
    assert [(str(step.condition), [mode for _, mode in step.seconds]) for step in again.steps] == [
        *((str(c), [tent]) for c in ready.images.conditions[1:-1]),
        (str(ready.images.conditions[-1]), ["fixed", tent]),
    ]


def test_a_mixed_stream_is_a_step_of_its_own(task: tuple[str, str, str]) -> None:
    ready = prepared(task, mixed=True)
    steps = plan(ready.subjects, ready.images).steps
    assert [step.condition for step in steps] == [*ready.images.conditions, None]
    assert [{mode for _, mode in step.seconds} for step in steps] == [
        {"fixed", "batch"}, *[{"fixed"}] * 4, {"batch"}
    ]  # fmt: skip
    assert steps[-1].images == 4 * 90 and steps[-1].rest > 0


SMALL = {"adapt": "adapt:n=8,draws=2", "eata": "eata:fisher=64"}


@pytest.mark.parametrize("mode", [SMALL.get(name, name) for name in names()])
def test_every_mode_is_timed_and_nothing_of_it_lives_on(task: tuple[str, str, str], mode: str) -> None:
    ready = prepared(task, modes=[mode], corruptions=["contrast"], severities=[5])
    network = ready.subjects[0].classifier.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = plan(ready.subjects, ready.images)
    assert found.seconds is not None and 0 < found.seconds < 60
    assert all(seconds > 0 for step in found.steps for seconds in step.seconds.values())
    assert found.memory is not None and found.memory.room > found.memory.peak > found.memory.work > 0
    assert ("with gradients" in found.memory.what) == ready.subjects[0].modes[0].is_learning
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_plan_changes_no_count(task: tuple[str, str, str], tmp_path: Path) -> None:
    modes = ["fixed", "batch", "tent", "adapt:n=8"]
    plain, told = (
        evaluation.evaluate(
            prepared(task, modes=modes),
            [tmp_path / str(number)],
            observer=evaluation.Observer(measured=wanted),
        )[0].record.cells
        for number, wanted in enumerate((False, True))
    )
    assert [(c.name, c.scores) for c in plain] == [(c.name, c.scores) for c in told]


def test_corruptions_that_are_not_timed_cost_what_their_like_do(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    asked: list[Condition] = []

    class Slow:
        order, chunk, device = ready.images.clean.ids, 8, torch.device("cpu")

        def __init__(self, condition: Condition) -> None:
            self.condition = condition

        def pixels(self, positions: Any) -> None:
            asked.append(self.condition)

    grid = [Condition(name, severity) for name in ("fog", "snow") for severity in (1, 2, 3, 4, 5)]
    found = corrupting(Slow, grid, budget=0)  # type: ignore[arg-type]
    assert list(found) and set(found) == set(grid)
    # The middle severities come first, each after a first use that warms up.
    assert [c.severity for c in asked[:4]] == [3, 3, 3, 3]


def test_the_most_that_is_alive_at_once() -> None:
    x = torch.zeros(1000)
    assert most_alive(lambda: ((x + 1) + 1) + 1) == 8000
    assert most_alive(lambda: [x + 1, x + 2, x + 3]) == 12000
    assert most_alive(lambda: x.view(10, 100)[:5]) == 4000  # a view holds all of what it shows

    def learn() -> None:
        leaf = torch.zeros(1000, requires_grad=True)
        y = leaf.exp()
        torch.autograd.grad(y.exp().sum(), leaf)

    # exp keeps what it gave, so both are alive on the way back, beside the gradients.
    assert most_alive(learn) >= 3 * 4000


def test_a_convolution_on_a_cpu_is_counted_with_a_copy_of_what_it_reads_and_writes() -> None:
    x, weight = torch.zeros(2, 3, 16, 16), torch.zeros(5, 3, 1, 1)
    out = 4 * 2 * 5 * 16 * 16
    with torch.no_grad():
        assert most_alive(lambda: torch.conv2d(x, weight)) == out + (x.nbytes + weight.nbytes + out)


def test_watching_a_pass_imports_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from lnbench.evaluate.footprint import most_alive\n"
        "assert most_alive(lambda: torch.zeros(10) + 1) == 80\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_footprint_grows_with_the_images_and_with_gradients(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    subject, store = ready.subjects[0], ready.images.clean
    plain, learning = (footprint(subject, parse(mode), store) for mode in ("batch", "tent"))
    assert plain is not None and learning is not None
    # The float image, 3·32·32, then a convolution's output beside it, 8·16·16: at least these.
    assert plain.image >= 4 * (3 * 32 * 32 + 8 * 16 * 16)
    assert learning.image > plain.image
    assert Footprint(100, 10).of(20) == 300 and Footprint(100, 10).fitting(300) == 20
    assert Footprint(100, 10).fitting(50) == 0
    assert Footprint(100, 10, 2.0).taken(20) == 600 and Footprint(100, 10, 2.0).fitting(600) == 20
    assert plain.overhead < learning.overhead


def test_the_plan_in_words(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    counts, times, memory = sentences(plan(ready.subjects, ready.images))
    assert counts == "5 conditions, 10 cells, 90 images, 900 forward passes; images take 0 MiB of memory"
    assert times.startswith("about 0:0") and "corruption 0:0" in times and "batch 0:0" in times
    assert memory.startswith("memory at peak: about ") and "this machine's" in memory
    assert [clock(seconds) for seconds in (0.4, 75, 7384)] == ["0:00", "1:15", "2:03:04"]
    assert [size(count) for count in (700 * 2**20, 1.4 * 2**30)] == ["700 MiB", "1.4 GiB"]
