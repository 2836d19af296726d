"""Intervals, means and mCE against SciPy, the written-out definition and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lnbench.results.bits import pack
from lnbench.results.schema import Cell, RecordedSuite, Summary
from lnbench.results.scores import (
    ALEXNET,
    ALEXNET_CLEAN,
    benchmark_order,
    image_interval,
    mean_weights,
    severity_means,
    summarize,
    wilson,
)
from tests.results.samples import FULL, WNIDS, make_cells, make_run

# torchvision's ResNet-50 on ImageNet-C, mean top-1 over the severities and its CE, both in percent,
# as published by bethgelab/game-of-noise (Results/clean_results.txt).
RESNET50 = {
    "brightness": (68.02, 56.64),
    "contrast": (39.06, 71.43),
    "defocus_blur": (38.75, 74.71),
    "elastic_transform": (45.25, 84.75),
    "fog": (45.83, 66.11),
    "frost": (38.14, 74.84),
    "gaussian_noise": (29.29, 79.77),
    "glass_blur": (26.79, 88.61),
    "impulse_noise": (23.81, 82.58),
    "jpeg_compression": (53.41, 76.82),
    "motion_blur": (38.67, 78.03),
    "pixelate": (44.79, 76.92),
    "shot_noise": (27.03, 81.58),
    "snow": (32.53, 77.83),
    "zoom_blur": (36.24, 79.86),
}


def cell(corruption: str, severity: float, top1: float, images: int = 50_000, mode: str = "fixed") -> Cell:
    return Cell(
        mode=mode, corruption=corruption, severity=severity, images=images, scores={"top1": top1, "top5": 1}
    )


def summary(
    cells: list[Cell],
    classes: int | None = 1000,
    names: tuple[str, ...] = WNIDS,
    crop: object = 224,
    **changes: object,
) -> Summary:
    values = {"table": "imagenet", "backend": "native", "seed": 0, "baseline": "alexnet", **changes}
    conditions = tuple((c.corruption, c.severity) for c in cells)
    suite = RecordedSuite.model_validate({"modes": ("fixed",), "conditions": conditions, **values})
    run = make_run(names=names)
    model = run.model.model_copy(update={"classes": classes, "preprocessing": {"resize": 256, "crop": crop}})
    return summarize(cells, run.model_copy(update={"suite": suite, "model": model}))["fixed"]


def resnet50() -> list[Cell]:
    cells = [cell("clean", 0, 0.7613)]
    return cells + [cell(name, s, RESNET50[name][0] / 100) for name in ALEXNET for s in (1, 2, 3, 4, 5)]


def test_mce_of_the_published_resnet50() -> None:
    found = summary(resnet50())
    assert found.mce is not None and found.relative_mce is not None
    assert 100 * found.mce == pytest.approx(76.70, abs=0.006)  # the table's two decimals
    assert 100 * found.relative_mce == pytest.approx(104.95, abs=0.1)  # 105.0 in the paper
    assert found.mean_corruption_top1 == pytest.approx(0.3917, abs=0.0001)
    assert found.mce_baseline is not None and "AlexNet" in found.mce_baseline
    assert found.complete and "the 15 of ImageNet-C × severities 1–5" in found.corruption_set


@pytest.mark.parametrize("name", ALEXNET)
def test_each_published_ce(name: str) -> None:
    top1, ce = RESNET50[name]
    assert (100 - top1) / ALEXNET[name] == pytest.approx(ce, abs=0.02)  # two decimals of top-1


def test_alexnet_scores_one_against_itself() -> None:
    cells = [cell("clean", 0, 1 - ALEXNET_CLEAN)]
    cells += [cell(name, s, 1 - error) for name, error in ALEXNET.items() for s in (1, 2, 3, 4, 5)]
    found = summary(cells)
    assert found.mce == pytest.approx(1, abs=1e-12)
    assert found.relative_mce == pytest.approx(1, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=76, max_size=76))
def test_mce_is_the_written_out_definition(right: list[int]) -> None:
    rates = {condition: k / 1000 for condition, k in zip((("clean", 0), *FULL), right, strict=True)}
    found = summary([cell(name, s, rate, 1000) for (name, s), rate in rates.items()])
    clean = 1 - rates["clean", 0]
    ces, relatives = [], []
    for name, alexnet in ALEXNET.items():
        errors = [1 - rates[name, s] for s in (1, 2, 3, 4, 5)]
        ces.append(sum(errors) / (5 * alexnet))
        relatives.append(sum(e - clean for e in errors) / (5 * (alexnet - ALEXNET_CLEAN)))
    assert found.mce == pytest.approx(np.mean(ces), abs=1e-9)
    assert found.relative_mce == pytest.approx(np.mean(relatives), abs=1e-9)


OBSTACLES = {
    "partial": ({"drop": 1}, "74 of the 75"),
    "table": ({"table": "cifar"}, "'cifar' parameter table"),
    "overrides": ({"overrides": {"fog": {"1": [1, 2]}}}, "own corruption parameters"),
    "classes": ({"classes": 10}, "1000 classes"),
    "baseline": ({"baseline": None}, "names no baseline"),
    "unknown classes": ({"classes": None, "names": ()}, "1000 classes"),
    "other classes": ({"names": ("cat", "dog")}, "not known to be ImageNet's"),
    "nameless classes": ({"names": ()}, "not known to be ImageNet's"),
    "a name among wnids": ({"names": (*WNIDS[:9], "cat")}, "not known to be ImageNet's"),
    "small images": ({"crop": 32}, "224 pixels, not of 32"),
    "narrow images": ({"crop": [224, 64]}, "224 pixels, not of 64"),
}


@pytest.mark.parametrize("change, why", OBSTACLES.values(), ids=OBSTACLES)
def test_mce_is_null_with_its_reason(change: dict[str, object], why: str) -> None:
    change = dict(change)
    cells = resnet50()[: -1 if change.pop("drop", 0) else None]
    found = summary(cells, change.pop("classes", 1000), **change)  # type: ignore[arg-type]
    assert found.mce is None and found.relative_mce is None and found.mce_baseline is None
    assert why in found.mce_note


def test_mce_stays_defined_for_stored_images_and_the_jpeg_round_trip() -> None:
    assert summary(resnet50(), backend="precomputed", table=None).mce is not None
    assert summary(resnet50(), overrides={"jpeg_roundtrip": 85}).mce is not None


def test_a_subset_of_imagenets_classes_is_named_as_such() -> None:
    whole, part = summary(resnet50()), summary(resnet50(), names=WNIDS[:48])
    assert whole.mce == part.mce and "classes" not in whole.mce_note
    assert "only 48 of its 1000 classes" in part.mce_note
    assert summary(resnet50(), names=tuple(map(str, range(1000)))).mce_note == whole.mce_note


def test_extra_corruptions_never_enter_mce() -> None:
    extra = [cell("saturate", s, 0.0) for s in (1, 2, 3, 4, 5)]
    assert summary(resnet50() + extra).mce == pytest.approx(float(summary(resnet50()).mce or 0))


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    expected = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_mean_weighs_corruptions_alike_whatever_their_severities() -> None:
    cells = [cell("fog", 1, 0.2), cell("fog", 3, 0.4), cell("snow", 2, 0.9)]
    assert severity_means(cells) == pytest.approx({"snow": 0.9, "fog": 0.3})
    assert summary(cells).mean_corruption_top1 == pytest.approx(0.6)
    assert summary(cells).corruption_set == "2 corruptions × severities 1, 2, 3"
    weighted = math.fsum(w * c.top1 for w, c in zip(mean_weights(cells), cells, strict=True))
    assert weighted == pytest.approx(0.6)


def test_rows_come_in_the_benchmarks_order() -> None:
    names = ["mine", "saturate", "fog", "clean", "gaussian_noise", "mine"]
    assert benchmark_order(names) == ["gaussian_noise", "fog", "saturate", "mine"]


def test_the_interval_of_a_mean_counts_images_not_forwards() -> None:
    """Conditions with the same right images say no more than one: the interval stays as wide."""
    right = np.random.default_rng(0).random(400) < 0.7
    one = [cell("fog", 1, right.mean(), 400).model_copy(update={"correct": pack(right)})]
    five = [one[0].model_copy(update={"severity": s}) for s in (1, 2, 3, 4, 5)]
    narrow, wide = image_interval(one, [1.0]), image_interval(five, [0.2] * 5)
    assert narrow is not None and wide == pytest.approx(narrow, abs=1e-12)
    expected = 1.96 * right.std() / 20  # normal interval of a rate over 400 images
    assert narrow[1] - narrow[0] == pytest.approx(2 * expected, rel=0.01)


def test_no_clean_and_nothing_but_clean() -> None:
    assert summary(resnet50()[1:]).relative_mce is None
    assert summary(resnet50()[1:]).mce is not None
    only = summary(resnet50()[:1])
    assert only.mean_corruption_top1 is None and only.corruption_set == "clean only"


def test_modes_keep_the_suites_order() -> None:
    run = make_run(modes=("local", "fixed"))
    assert list(summarize(make_cells(run), run)) == ["local", "fixed"]
