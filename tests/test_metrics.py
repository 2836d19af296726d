"""Counts against plain Python loops, and the algebra that lets them be summed in any grouping."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench import metrics
from lnbench.results.rules import HEADLINES
from lnbench.results.schema import Cell


def naive(log_probs: torch.Tensor, predicted: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """The definitions, image by image."""
    n = len(labels)
    top1 = top5 = nll = 0.0
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, guess, label in zip(log_probs.tolist(), predicted.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: -row[c])
        top1 += guess == label
        top5 += label in order[:5] or guess == label
        nll -= row[label]
        confidence = math.exp(row[guess])
        for k in range(15):
            if k / 15 < confidence <= (k + 1) / 15 or (k == 0 and confidence == 0):
                bins[k].append((confidence, guess == label))
    ece = sum(abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins) / n
    return {"top1": top1 / n, "top5": top5 / n, "nll": nll / n, "ece": ece}


def sample(seed: int, images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator) * 3
    labels = torch.randint(classes, (images,), generator=generator)
    return logits.log_softmax(1), logits.argmax(1), labels


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 60), classes=st.integers(2, 20))
def test_equals_the_definitions(seed: int, images: int, classes: int) -> None:
    log_probs, predicted, labels = sample(seed, images, classes)
    got = metrics.scores(metrics.count(log_probs, predicted, labels))
    for name, want in naive(log_probs, predicted, labels).items():
        # Both sum the same float32 values in float64; only the order of addition differs.
        assert got.values[name] == pytest.approx(want, abs=1e-9), name
    assert got.images == images
    assert sum(n for n, _, _ in got.bins) == images


def test_counts_add_up() -> None:
    log_probs, predicted, labels = sample(1, 101, 7)
    whole = metrics.count(log_probs, predicted, labels)
    parts = metrics.empty("cpu")
    for start in range(0, 101, 13):
        piece = slice(start, start + 13)
        parts += metrics.count(log_probs[piece], predicted[piece], labels[piece])
    sums = len(whole)
    integers = [0, 1, 2, *range(4, 4 + metrics.ECE_BINS), *range(4 + 2 * metrics.ECE_BINS, sums)]
    assert torch.equal(whole[integers], parts[integers])
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)  # float64 sums, another order


def test_a_vote_may_overrule_the_probabilities() -> None:
    log_probs = torch.tensor([[0.7, 0.2, 0.1]]).log()
    got = metrics.scores(metrics.count(log_probs, torch.tensor([1]), torch.tensor([1])))
    assert got.values["top1"] == 1.0
    assert got.values["ece"] == pytest.approx(
        0.8, abs=1e-6
    )  # confidence is that of the voted class; float32 log


def test_certain_and_right_is_perfectly_calibrated() -> None:
    log_probs = torch.tensor([[0.0, -200.0]])
    got = metrics.scores(metrics.count(log_probs, torch.tensor([0]), torch.tensor([0])))
    assert got.values == {"top1": 1.0, "top5": 1.0, "nll": 0.0, "ece": 0.0}
    assert got.bins[-1][0] == 1


@pytest.mark.parametrize("each", metrics.METRICS.values(), ids=metrics.METRICS)
def test_what_a_metric_promises(each: metrics.Metric) -> None:
    counted = each.count(*sample(3, 20, 7))
    assert counted.shape == (each.size,) and counted.dtype == torch.float64
    value = each.read(counted.tolist(), 20)
    assert value is not None and (each.unit != "%" or 0 <= value <= 1)
    certain = torch.tensor([[0.0, -200.0]])
    right, wrong = (
        each.read(each.count(certain, torch.tensor([0]), torch.tensor([label])).tolist(), 1)
        for label in (0, 1)
    )
    assert right is not None and wrong is not None
    assert right >= wrong if each.better == "higher" else right <= wrong
    assert each.about and each.title
    columns = {"run", "model", "data", "mode", "corruption", "severity", "top1_low", "top1_high"}
    assert each.name.isidentifier()
    assert each.name not in columns | set(Cell.model_fields) | set(HEADLINES), "taken by a column or a key"


def test_a_name_is_given_once() -> None:
    before = dict(metrics.METRICS)
    with pytest.raises(ValueError, match="metric nll is registered twice"):
        metrics.metric("nll", better="lower")(metrics.nll)
    assert before == metrics.METRICS


def test_no_images_have_no_scores() -> None:
    with pytest.raises(ValueError, match="no images"):
        metrics.scores(metrics.empty("cpu"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_not_numbers_are_wrong_and_reach_no_other_image(value: float) -> None:
    _, _, labels = sample(5, 30, 12)
    logits = torch.randn(30, 12, generator=torch.Generator().manual_seed(6))
    logits[[3, 17], labels[[3, 17]]] = value  # the right class among them: it would be found first
    log_probs = logits.log_softmax(1)
    predicted = metrics.judge(log_probs, logits.argmax(1))
    assert (predicted == -1).nonzero().flatten().tolist() == [3, 17]
    got = metrics.scores(metrics.count(log_probs, predicted, labels))
    rest = [i for i in range(30) if i not in (3, 17)]
    others = metrics.scores(metrics.count(log_probs[rest], predicted[rest], labels[rest]))
    assert (got.images, got.unanswered, others.unanswered) == (30, 2, 0)
    for name in ("top1", "top5"):
        assert got.values[name] == pytest.approx((others.values[name] or 0) * 28 / 30)
    assert math.isnan(got.values["nll"] or 0) and got.values["ece"] is None
    assert got.bins == others.bins


def test_minus_infinity_is_a_probability_of_zero() -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.0], [2.0, 1.0, -math.inf]])
    log_probs, labels = logits.log_softmax(1), torch.tensor([0, 2])
    got = metrics.scores(metrics.count(log_probs, metrics.judge(log_probs, logits.argmax(1)), labels))
    assert (got.unanswered, got.values["top1"], got.values["nll"]) == (0, 0.5, math.inf)
    assert got.values["ece"] is not None
