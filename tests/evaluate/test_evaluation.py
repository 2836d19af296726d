"""From configs to records: what runs short is worked around or named, what is broken is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lnbench import config, memory
from lnbench.data.rows import FileRows
from lnbench.errors import CheckpointError, DataError, ModelError, UsageError
from lnbench.evaluate import evaluation
from lnbench.evaluate.prepare import Images, load_subject
from lnbench.models.classifier import Classifier
from tests.networks import pictures, write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    return write_task(tmp_path_factory.mktemp("task"))


def resolved(task: tuple[str, str, str], **options: Any) -> config.RunConfig:
    model, weights, data = task
    chosen = {"model": model, "weights": weights, "data": data, "corruptions": ["gaussian_noise"],
              "severities": [5], "batch_size": 40, "modes": ["fixed"], **options}  # fmt: skip
    return config.resolve(config.load_preset("core"), chosen)


def run(configs: list[config.RunConfig], out: Path, **options: Any) -> list[evaluation.Outcome]:
    ready = evaluation.prepare_all(configs, **options)
    return evaluation.evaluate(ready, [out / str(number) for number in range(len(ready.subjects))])


def counts(outcome: evaluation.Outcome) -> list[tuple[str, str, float]]:
    return [(cell.mode, cell.name, cell.top1) for cell in outcome.record.cells]


@pytest.mark.parametrize("baseline", [None, "alexnet"])
def test_the_preset_says_against_what_mce_is_given(
    task: tuple[str, str, str], tmp_path: Path, baseline: str | None
) -> None:
    chosen = resolved(task).model_copy(update={"baseline": baseline})
    (outcome,) = run([chosen], tmp_path)
    assert outcome.record.suite.baseline == baseline
    note = outcome.record.summary["fixed"].mce_note
    assert ("names no baseline" in note) == (baseline is None)


@pytest.fixture(params=[torch.OutOfMemoryError("out of memory"), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")])
def small_device(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """A device whose memory holds as many images as the list's entry says."""
    most = [10**9]
    logits = Classifier._logits

    def limited(self: Classifier, pixels: torch.Tensor, *network: Any) -> torch.Tensor:
        if len(pixels) > most[0]:
            raise request.param
        return logits(self, pixels, *network)

    monkeypatch.setattr(Classifier, "_logits", limited)
    return most


def test_where_the_chunk_is_not_part_of_the_answer_it_is_halved_and_the_run_goes_on(
    task: tuple[str, str, str], tmp_path: Path, small_device: list[int]
) -> None:
    chosen = resolved(task, modes=["fixed", "local", "adapt:n=8"])
    (usual,) = run([chosen], tmp_path / "usual")
    ready = evaluation.prepare_all([chosen])
    small_device[0] = 20  # chunks are of 64 and 26 images
    (short,) = evaluation.evaluate(ready, [tmp_path / "short"])
    assert counts(short) == counts(usual)
    note = "device memory ran short: chunks computed in 4 parts"
    assert note in short.record.deviations and note not in usual.record.deviations
    assert note in json.loads((tmp_path / "short" / "run.json").read_text())["deviations"]


@pytest.mark.parametrize("mode", ["batch", "blend:N=16,scope=batch"])
def test_where_the_batch_is_part_of_the_answer_the_run_stops_and_names_one_that_fits(
    task: tuple[str, str, str], tmp_path: Path, small_device: list[int], mode: str
) -> None:
    ready = evaluation.prepare_all([resolved(task, modes=[mode])])
    small_device[0] = 12
    with pytest.raises(UsageError, match=r"a batch of 40 images does not fit .*; --batch-size 10 fits"):
        evaluation.evaluate(ready, [tmp_path / "run"])


def test_statistics_of_too_many_images_and_a_single_image_that_does_not_fit(
    task: tuple[str, str, str], tmp_path: Path, small_device: list[int]
) -> None:
    adapted = evaluation.prepare_all([resolved(task, modes=["adapt:n=32"])])
    fixed = evaluation.prepare_all([resolved(task)])
    small_device[0] = 16
    with pytest.raises(UsageError, match=r"32 images at once do not fit .* use a smaller n"):
        evaluation.evaluate(adapted, [tmp_path / "one"])
    small_device[0] = 0
    with pytest.raises(DataError, match="does not hold one image and the network"):
        evaluation.evaluate(fixed, [tmp_path / "two"])


def test_a_broken_checkpoint_is_named_and_left_out(task: tuple[str, str, str], tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"<html>not found</html>")
    runs = [resolved(task, weights=str(tmp_path / "broken.pth")), resolved(task)]
    heard: list[str] = []
    ready = evaluation.prepare_all(runs, strict=False, observer=evaluation.Observer(warning=heard.append))
    assert [subject.config for subject in ready.subjects] == [runs[1].model_copy(update={"table": "cifar"})]
    assert len(ready.failed) == 1 and heard == [f"left out: {ready.failed[0]}"]
    assert "broken.pth" in heard[0]
    with pytest.raises(CheckpointError, match=r"broken\.pth"):
        evaluation.prepare_all(runs, strict=True)
    with pytest.raises(CheckpointError, match=r"broken\.pth"):
        evaluation.prepare_all(runs[:1], strict=False)


def test_networks_of_another_geometry_and_too_few_classes_are_left_out(task: tuple[str, str, str]) -> None:
    other = resolved(task, model="demo", weights=None, resize=None)
    ready = evaluation.prepare_all([resolved(task), other], strict=False)
    assert len(ready.subjects) == 1 and isinstance(ready.failed[0], ModelError | DataError)


def write_folder(folder: Path) -> str:
    pixels, labels = pictures(24)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        (folder / f"class{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"class{label}" / f"{number:03d}.png")
    return f"folder:{folder}"


def test_more_images_than_fit_in_memory_go_to_a_file(task: tuple[str, str, str], tmp_path: Path) -> None:
    chosen = resolved(task, data=write_folder(tmp_path / "images"), batch_size=8, modes=["fixed", "batch"])
    free = evaluation.prepare_all([chosen], scratch=tmp_path / "scratch")
    assert not isinstance(free.images.clean.images, FileRows) and not (tmp_path / "scratch").exists()
    bound = evaluation.prepare_all([chosen], scratch=tmp_path / "scratch", memory=1)
    assert isinstance(bound.images.clean.images, FileRows)
    outcomes = [
        evaluation.evaluate(ready, [tmp_path / name])[0] for ready, name in ((free, "free"), (bound, "bound"))
    ]
    assert counts(outcomes[0]) == counts(outcomes[1])
    kept = evaluation.prepare_all([chosen], cache=tmp_path / "cache", scratch=tmp_path / "none")
    assert isinstance(kept.images.clean.images, FileRows) and not (tmp_path / "none").exists()


def test_room_for_images() -> None:
    assert memory.room_for_images(None, 2) == memory.room_for_images(1 << 20, 1) == 1
    assert memory.room_for_images(1 << 60, 1) > memory.room_for_images(1 << 59, 1) > 1 << 57


def test_a_shard_has_every_nth_condition_and_says_so(task: tuple[str, str, str], tmp_path: Path) -> None:
    chosen = resolved(task, severities=[1, 2, 3], shard="2/3")
    (outcome,) = run([chosen], tmp_path)
    assert [str(cell.condition) for cell in outcome.record.cells] == ["gaussian_noise/1"]
    assert any(text.startswith("shard 2 of 3") for text in outcome.record.deviations)
    with pytest.raises(UsageError, match="only 4 conditions"):
        evaluation.prepare_all([resolved(task, severities=[1, 2, 3], shard="5/5")])


def test_the_reports_sheet_is_drawn_by_whoever_asks_for_one(
    task: tuple[str, str, str], tmp_path: Path
) -> None:
    chosen = resolved(task, limit=8)
    ready = evaluation.prepare_all([chosen])
    evaluation.evaluate(ready, [tmp_path / "none"])
    assert not (tmp_path / "none" / "sheet.png").exists()

    def draw(config: config.RunConfig, images: Images) -> bytes:
        assert (config.corruptions, len(images.clean.labels)) == (("gaussian_noise",), 8)
        return b"a picture"

    evaluation.evaluate(ready, [tmp_path / "one"], sheet=draw)
    assert (tmp_path / "one" / "sheet.png").read_bytes() == b"a picture"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, (64, 64)), ({"crop": 48}, (None, 48)), ({"resize": 80}, (80, None))],
)
def test_a_given_crop_drops_the_models_resize_and_the_other_way_round(
    given: dict[str, int], expected: tuple[int | None, int | None]
) -> None:
    chosen = config.resolve(config.load_preset("core"), {"model": "demo", "data": "demo", **given})
    geometry = load_subject(chosen, torch.device("cpu")).geometry
    assert (geometry.resize, geometry.crop) == expected


def test_the_observer_gets_the_cells_of_each_condition_and_those_of_before(
    task: tuple[str, str, str], tmp_path: Path
) -> None:
    chosen = resolved(task, modes=["fixed", "batch"])
    ready = evaluation.prepare_all([chosen])
    heard: list[tuple[str, list[tuple[str, float]]]] = []

    def told(what: object, kept: evaluation.Kept) -> None:
        cells = [(cell.name, cell.top1) for subject, own in kept for cell in own]
        heard.append((type(what).__name__, cells))

    observer = evaluation.Observer(started=told, finished=told)
    (whole,) = evaluation.evaluate(ready, [tmp_path / "run"], observer=observer)
    figures = {cell.name: cell.top1 for cell in whole.record.cells}
    clean, noise = (
        [(name, figures[name]) for name in names]
        for names in (("fixed/clean", "batch/clean"), ("fixed/gaussian_noise/5", "batch/gaussian_noise/5"))
    )
    assert heard == [("Plan", []), ("Condition", clean), ("Condition", noise)]

    file = tmp_path / "run" / "cells.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    heard.clear()
    evaluation.evaluate(ready, [tmp_path / "run"], observer=observer)
    assert heard == [("Plan", clean), ("Condition", noise)]
