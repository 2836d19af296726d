"""The loop against a plain one: every image counted once, nothing depends on how the work is cut."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lnbench import config
from lnbench.data.batches import drawn
from lnbench.errors import UsageError
from lnbench.evaluate import evaluation, loop
from lnbench.evaluate.prepare import Subject
from lnbench.norm.modes.registry import Mode, parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from lnbench.results.draws import answering
from lnbench.types import CLEAN, Condition
from tests.networks import normalized, pictures, trained, write_task

MODES = ("fixed", "batch", "local", "blend:N=16", "adapt:n=16", "adapt:n=16,draws=3")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def prepared(task: tuple[str, str, str], **options: object) -> evaluation.Prepared:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise"],
              "severities": [5], "batch_size": 20, "modes": MODES, **options}  # fmt: skip
    return evaluation.prepare_all([config.resolve(config.load_preset("core"), chosen)])


def results(ready: evaluation.Prepared) -> dict[tuple[int, str, Condition], loop.Result]:
    return {
        (number, str(result.mode), condition): result
        for condition, found in loop.run(ready.subjects, ready.images, lambda s, m, c: False)
        for number, (_, cells) in enumerate(found)
        for result in cells
    }


def test_fixed_equals_the_untouched_network_image_by_image(task: tuple[str, str, str]) -> None:
    got = results(prepared(task))[0, "fixed", CLEAN]
    pixels, labels = pictures()
    network = trained()
    with torch.no_grad():
        logits = torch.cat(
            [network(normalized(torch.from_numpy(p.transpose(2, 0, 1).copy())[None])) for p in pixels]
        )
    assert np.array_equal(got.correct, (logits.argmax(1).numpy() == labels))
    nll = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
    # float32 convolutions of one image and of a chunk may add in another order.
    assert got.scores.values["nll"] == pytest.approx(nll, abs=1e-4)


def test_batch_takes_whole_batches_along_the_order_and_counts_each_image_once(
    task: tuple[str, str, str],
) -> None:
    """90 images in batches of 20: the last is completed with the first ten of the order."""
    got = results(prepared(task))[0, "batch", CLEAN]
    assert got.scores.images == 90
    pixels, labels = pictures()
    ready = prepared(task)
    order = loop.Stream(
        ready.images.clean, CLEAN, ready.subjects[0].config, torch.device("cpu"), seed=0, corrupted=False
    ).order
    network = trained()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().track_running_stats = False
            module.running_mean = module.running_var = None
    right = np.zeros(90, dtype=bool)
    for start in range(0, 90, 20):
        new = order[start : start + 20]
        batch = np.concatenate([new, order[: 20 - len(new)]])
        with torch.no_grad():
            logits = network(normalized(torch.from_numpy(pixels[batch].transpose(0, 3, 1, 2).copy())))
        right[new] = logits.argmax(1).numpy()[: len(new)] == labels[new]
    assert np.array_equal(got.correct, right)


@pytest.mark.parametrize("batch_size", [7, 64, 90])
def test_the_batch_size_changes_nothing_where_the_batch_is_not_part_of_the_answer(
    task: tuple[str, str, str], batch_size: int
) -> None:
    usual, other = results(prepared(task)), results(prepared(task, batch_size=batch_size))
    for key, result in usual.items():
        if key[1] != "batch":
            assert np.array_equal(result.correct, other[key].correct), key
            assert result.scores == other[key].scores, key


def test_several_subjects_get_what_each_gets_alone(task: tuple[str, str, str], tmp_path: Path) -> None:
    model, weights, data = task
    base = {"model": model, "data": data, "corruptions": ["contrast"], "severities": [5], "batch_size": 20}
    runs = [
        config.resolve(config.load_preset("core"), {**base, "weights": weights, "modes": modes})
        for modes in (["fixed", "batch"], ["adapt:n=8", "adapt:n=16", "batch"])
    ]
    both = results(evaluation.prepare_all(runs))
    for number, run in enumerate(runs):
        alone = results(evaluation.prepare_all([run]))
        for (_, mode, condition), result in alone.items():
            assert np.array_equal(result.correct, both[number, mode, condition].correct)
            assert result.scores == both[number, mode, condition].scores


def test_no_weight_and_no_buffer_changes(task: tuple[str, str, str]) -> None:
    ready = prepared(task)

    def digest() -> str:
        state = ready.subjects[0].classifier.network.state_dict()
        parts = (name.encode() + value.numpy().tobytes() for name, value in state.items())
        return hashlib.sha256(b"".join(parts)).hexdigest()

    before = digest()
    results(ready)
    assert digest() == before


def test_finished_cells_are_skipped_and_the_others_are_the_same(task: tuple[str, str, str]) -> None:
    ready = prepared(task)
    whole = results(ready)

    def finished(subject: Subject, mode: Mode, condition: Condition) -> bool:
        return condition == CLEAN or mode.kind in ("fixed", "batch")

    rest = {
        (str(result.mode), condition): result
        for condition, found in loop.run(ready.subjects, ready.images, finished)
        for _, cells in found
        for result in cells
    }
    assert set(rest) == {(mode, Condition("gaussian_noise", 5)) for mode in MODES[2:]}
    for (mode, condition), result in rest.items():
        assert np.array_equal(result.correct, whole[0, mode, condition].correct)


def test_adapt_uses_the_statistics_of_its_n_images(task: tuple[str, str, str]) -> None:
    """With n equal to the whole set and one batch, adapt and batch are the same computation."""
    got = results(prepared(task, modes=["adapt:n=90", "batch"], batch_size=90))
    for condition in (CLEAN, Condition("gaussian_noise", 5)):
        adapt, batch = got[0, "adapt:n=90", condition], got[0, "batch", condition]
        assert np.array_equal(adapt.correct, batch.correct)


def test_each_image_is_answered_for_by_the_draw_that_has_its_share(task: tuple[str, str, str]) -> None:
    """Three networks with the statistics of three draws, each on the third of the images that is its own."""
    ready = prepared(task, modes=["adapt:n=16,draws=3"])
    got = results(ready)
    for condition in (CLEAN, Condition("gaussian_noise", 5)):
        stream = loop.Stream(
            ready.images.clean,
            condition,
            ready.subjects[0].config,
            torch.device("cpu"),
            seed=0,
            corrupted=False,
        )
        shares, right = answering(90, 3), np.zeros(90, dtype=bool)
        for number in range(3):
            network = trained().train()
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 1.0
            own = np.flatnonzero(shares == number)
            with torch.no_grad():
                images = normalized(stream.pixels(drawn(90, 16, 0, condition, number)))
                network(images)
                for module in network.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):  # torch keeps the unbiased variance
                        values = 16 * (16 * 16 if module is network[1] else 8 * 8)
                        module.running_var *= (values - 1) / values
                answers = network.eval()(normalized(stream.pixels(own))).argmax(1).numpy()
            right[own] = answers == ready.images.clean.labels[own]
        assert np.array_equal(got[0, "adapt:n=16,draws=3", condition].correct, right)


def test_a_layer_that_sees_other_than_the_images_cannot_tell_draws_apart() -> None:
    """A network that folds its batch, so that inputs of a layer are not images."""

    class Folding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x.reshape(-1, 3, 16, 16)).reshape(len(x), -1)

    network, mode, state = Folding().eval(), parse("adapt:n=4,draws=2"), State()
    layers = attach(network)
    layers.use(mode, state)
    mode.begin(network, lambda count, number: torch.rand(count, 3, 32, 32), state)
    state.draw = torch.tensor([0, 1, 0])
    with pytest.raises(UsageError, match=r"layer 'norm' gets 12 inputs for 3 images"):
        network(torch.rand(3, 3, 32, 32))


def test_progress_counts_images(task: tuple[str, str, str]) -> None:
    ready = prepared(task, modes=["fixed"])
    heard: list[loop.Progress] = []
    list(loop.run(ready.subjects, ready.images, lambda s, m, c: False, heard.append))
    assert [p.images for p in heard if p.condition == CLEAN] == [64, 90]
    assert all(p.total == 90 for p in heard)
