"""Outputs selected before softmax: against logits masked by hand, for every metric and mode alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lnbench import config
from lnbench.data.labels import ClassMap, Labels, Outputs, Written, class_map
from lnbench.evaluate import evaluation, loop
from lnbench.evaluate.answers import columns_of, selection
from lnbench.evaluate.prepare import match
from lnbench.norm.wrap import FIXED
from lnbench.results.significance import at_least
from tests.networks import write_task

CPU = torch.device("cpu")


def named(*names: str) -> Labels:
    return Labels(names, True, tuple(range(len(names))), "folder:x")


def logits(outputs: int) -> torch.Tensor:
    return torch.randn(64, outputs, generator=torch.Generator().manual_seed(1)) * 3


def select(found: ClassMap, scores: torch.Tensor) -> torch.Tensor:
    chosen = selection(found, CPU)
    return scores if chosen is None else chosen(scores)


def test_absent_outputs_are_left_out_before_softmax() -> None:
    found = class_map(named("2", "7", "5"), Outputs(9))
    scores = logits(9)
    assert torch.equal(select(found, scores), scores[:, [2, 5, 7]])
    columns = columns_of(found, CPU)
    assert columns is not None and columns.tolist() == [0, 2, 1]


def test_nothing_is_selected_where_every_output_answers() -> None:
    plain = class_map(named("a", "b", "c"), Outputs(3))
    assert selection(plain, CPU) is None and columns_of(plain, CPU) is None
    every = class_map(named("2", "7"), Outputs(9), kept="all")
    assert selection(every, CPU) is None
    columns = columns_of(every, CPU)
    assert columns is not None and columns.tolist() == [2, 7]


@pytest.mark.parametrize("combine", ["mean", "largest"])
@pytest.mark.parametrize("kept", ["present", "all"])
def test_superclasses_are_the_mean_of_softmax_or_the_largest(combine: Any, kept: Any) -> None:
    file = Written({"a": ("1", "4", "6"), "b": ("0",), "c": ("2", "3")}, combine, "map")
    found = class_map(named("a", "b", "c"), Outputs(8), kept=kept, written=file)
    scores = logits(8)
    probabilities = scores.double().softmax(1)  # over all outputs, as LAION-C's authors take it
    groups = [[0], [1, 4, 6], [2, 3]] + ([[5], [7]] if kept == "all" else [])
    parts = [probabilities[:, group] for group in groups]
    means = torch.stack([part.mean(1) if combine == "mean" else part.amax(1) for part in parts], 1)
    expected = means / means.sum(1, keepdim=True)
    got = select(found, scores).softmax(1)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(got.argmax(1), means.argmax(1))
    columns = columns_of(found, CPU)
    assert columns is not None and columns.tolist() == [1, 0, 2]


def test_gradients_pass_through_a_selection() -> None:
    file = Written({"a": ("1", "2"), "b": ("0",)}, "mean", "map")
    found = class_map(named("a", "b"), Outputs(4), written=file)
    scores = logits(4).requires_grad_()
    select(found, scores).log_softmax(1)[:, 0].sum().backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert (scores.grad[:, 3] == 0).all() and (scores.grad[:, 1] != 0).all()


def counted(prepared: evaluation.Prepared) -> dict[str, loop.Result]:
    (_, results), *_ = list(loop.run(prepared.subjects, prepared.images, lambda *_: False))
    return {str(cell.mode): cell for _, cells in results for cell in cells}


def test_a_class_map_moves_the_labels_of_every_mode(tmp_path: Path) -> None:
    """Against one forward pass of the same network, its labels moved by hand."""
    model, weights, data = write_task(tmp_path, images=60)
    options = {"model": model, "weights": weights, "data": data, "batch_size": 60,
               "modes": ["fixed", "batch", "local"], "corruptions": ["clean"]}  # fmt: skip
    prepared = evaluation.prepare_all([config.resolve(config.load_preset("core"), options)])
    (subject,), store = prepared.subjects, prepared.images.clean
    file = tmp_path / "map.yaml"
    file.write_text("0: 3\n1: 2\n2: 0\n3: 1\n")  # the labels are others': any permutation will do
    moved = match(subject, store)
    assert moved.class_map is not None and moved.class_map.plain
    whole = counted(prepared)
    again = subject.config.model_copy(update={"class_map": str(file)})
    permuted = evaluation.prepare_all([again])
    for mode, cell in counted(permuted).items():
        # Scores are of the outputs the map names; the network's own labels are a permutation away.
        assert cell.scores.values["nll"] != whole[mode].scores.values["nll"]
    permuted.subjects[0].layers.use(FIXED)
    raw = permuted.subjects[0].classifier.logits(torch.from_numpy(store.images))
    wanted = torch.tensor([3, 2, 0, 1])[torch.from_numpy(store.labels)]
    fixed = counted(permuted)["fixed"]
    assert int(fixed.correct.sum()) == int((raw.argmax(1) == wanted).sum())
    nll = torch.nn.functional.cross_entropy(raw, wanted)
    assert fixed.scores.values["nll"] == pytest.approx(float(nll), abs=1e-5)


def test_the_binomial_tail_is_exact() -> None:
    for right, images, rate in ((1, 3, 0.5), (3, 20, 0.1), (20, 20, 0.1), (7, 300, 0.01)):
        terms = (
            math.comb(images, k) * rate**k * (1 - rate) ** (images - k) for k in range(right, images + 1)
        )
        assert at_least(right, images, rate) == pytest.approx(math.fsum(terms), rel=1e-10)
    assert at_least(0, 5, 0.2) == 1.0
    assert at_least(50_000, 50_000, 0.001) == 0.0
    assert 0.4 < at_least(5000, 50_000, 0.1) < 0.6
