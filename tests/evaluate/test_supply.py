"""Where images lie while they are counted: the same cells from everywhere, and what crosses to a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lnbench import config
from lnbench.data import loading
from lnbench.data.store import part_of
from lnbench.device import moved
from lnbench.errors import UsageError
from lnbench.evaluate import evaluation, stream, supply
from lnbench.evaluate.plan import plan
from tests.device import CUDA, Device, fresh_tables
from tests.networks import write_task

IMAGES = np.random.default_rng(3).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"))
    return {"model": model, "weights": weights, "data": data, "corruptions": ["contrast", "brightness"],
            "severities": [3], "modes": ["fixed", "batch", "adapt:n=8"], "batch_size": 30}  # fmt: skip


def prepared(task: dict[str, Any], device: str, **given: Any) -> evaluation.Prepared:
    chosen = config.resolve(config.load_preset("core"), {**task, "device": device})
    return evaluation.prepare_all([chosen], **given)


@pytest.mark.parametrize("store", ["device", "host", "file"])
def test_wherever_images_lie_the_cells_are_the_same(
    task: dict[str, Any], tmp_path: Path, store: supply.Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "chunk_size", lambda *_: 15)
    monkeypatch.setattr(loading, "LARGE", 0)  # smaller arrays are worth no file
    (here,) = evaluation.evaluate(prepared(task, "cpu"), [None])
    with fresh_tables(), Device() as gpu:
        ready = prepared(task, "cuda", store=store, scratch=tmp_path / "images")
        foretold = plan(ready.subjects, ready.images, measure=False)
        assert ready.images.clean.place == foretold.store_place == store
        gpu.clear()
        (there,) = evaluation.evaluate(ready, [None], compile="off")
        crossed, whole = gpu.carried, ready.images.clean.images.nbytes
    for one, other in zip(here.record.cells, there.record.cells, strict=True):
        assert (one.key, one.correct) == (other.key, other.correct)
    # On the device: numbers of images, labels and keys. From the host: all of them under three conditions.
    assert crossed < 0.05 * whole if store == "device" else 3 * whole < crossed < 4.5 * whole


def test_every_chunk_but_the_first_is_there_ahead(
    task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "chunk_size", lambda *_: 15)
    sizes = []

    def noted(images: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        sizes.append(len(images))
        return moved(images, device)

    with fresh_tables(), Device():
        ready = prepared(task, "cuda", store="host")
        monkeypatch.setattr(supply, "moved", noted)
        evaluation.evaluate(ready, [None], compile="off")
    # Beside the first chunk of the run, what `adapt` draws under each of three conditions.
    assert sizes == [8, 15, 8, 8]


def test_the_device_is_chosen_where_images_leave_it_room(task: dict[str, Any]) -> None:
    images = prepared(task, "cpu").images
    size = images.clean.images.nbytes

    def place(wanted: supply.Wanted, memory: int) -> str:
        with Device(memory=memory):
            return supply.placed(images, CUDA, wanted, sharing=1).clean.place

    assert place("auto", 2 * size) == "device" and place("auto", 2 * size - 2) == "host"
    assert place("device", 2 * size - 2) == "device"
    with pytest.raises(UsageError, match="use --store host"):
        place("device", size - 1)


def test_processes_on_one_device_share_its_memory(task: dict[str, Any]) -> None:
    images = prepared(task, "cpu").images
    with Device(memory=2 * images.clean.images.nbytes):
        assert supply.placed(images, CUDA, "auto", sharing=1).clean.place == "device"
        assert supply.placed(images, CUDA, "auto", sharing=2).clean.place == "host"


@pytest.mark.parametrize("images", [IMAGES, IMAGES[::-1]], ids=["in a row", "backwards"])
def test_what_is_expected_comes_ahead_and_anything_else_comes_too(images: NDArray[np.uint8]) -> None:
    with Device() as gpu:
        ahead = supply.Ahead(images, CUDA)
        for expected, asked in (([3, 1], [3, 1]), ([5, 6], [7, 5, 6]), ([], [2]), ([39], [39])):
            ahead.expect(np.array(expected, dtype=np.int64))
            gpu.clear()
            found = ahead.take(np.array(asked))
            assert not gpu.waits
            assert np.array_equal(found.cpu().numpy(), images[asked])


def test_what_goes_wrong_in_the_thread_is_said_where_images_are_taken() -> None:
    with Device():
        ahead = supply.Ahead(_Broken(), CUDA)  # type: ignore[arg-type]
        ahead.expect(np.array([0]))
        with pytest.raises(OSError, match="disk is gone"):
            ahead.take(np.array([0]))


class _Broken:
    shape = (4, 3, 32, 32)

    def __getitem__(self, _: Any) -> None:
        raise OSError("the disk is gone")


def test_a_part_of_a_store_brings_its_own_images(task: dict[str, Any]) -> None:
    with Device():
        whole = supply.placed(prepared(task, "cpu").images, CUDA, "device", 1).clean
        part = part_of(whole, np.array([4, 2]))
        assert part.supply is None and np.array_equal(part.images[np.arange(2)], whole.images[[4, 2]])


def test_a_cpu_needs_none_of_it(task: dict[str, Any]) -> None:
    images = prepared(task, "cpu", store="device").images
    assert images.clean.supply is None and images.clean.place == "host"
    assert supply.placed(images, torch.device("cpu"), "auto", 1) is images


def test_an_unknown_place_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown store 'devise': did you mean device"):
        supply.parse("devise")


def test_a_cache_is_a_file(task: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--store host: --cache keeps images in a file"):
        prepared(task, "cpu", store="host", cache=tmp_path)
