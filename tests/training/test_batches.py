"""Training batches: what is drawn follows from (seed, epoch), whoever asks and in however many parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lnbench.norm import wrap
from lnbench.norm.modes.registry import parse
from lnbench.training import finetune
from lnbench.training.batches import Batches, epoch_seed
from lnbench.types import InputNormalization
from tests.device import Device

RAW = InputNormalization((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # pixels come out as they went in


def numbered(count: int, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Images whose pixels are all different within 1–250, and their own number as label."""
    values = np.arange(count * 3 * side * side, dtype=np.int64) * 7 % 250 + 1
    return values.astype(np.uint8).reshape(count, 3, side, side), np.arange(count)


def batches(count: int, normalization: InputNormalization = RAW) -> Batches:
    images, labels = numbered(count)
    return Batches(images, labels, normalization, torch.device("cpu"), torch.contiguous_format)


def run(
    count: int, size: int, seed: int = 0, epoch: int = 0, **options: object
) -> list[tuple[Tensor, Tensor]]:
    keywords = {"flip": True, "pad": 2, **options}
    return list(batches(count).epoch(size, seed, epoch, **keywords))  # type: ignore[arg-type]


def test_an_epoch_shows_every_image_once_but_those_of_a_short_batch() -> None:
    labels = torch.cat([targets for _, targets in run(22, 5)])
    assert len(labels) == 20
    assert len(set(labels.tolist())) == 20


def test_every_crop_is_a_window_of_its_padded_image() -> None:
    images, _ = numbered(12)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    seen = set()
    for pixels, targets in run(12, 4):
        for pixel, target in zip(pixels.round().numpy().astype(np.uint8), targets.tolist(), strict=True):
            windows = {
                (down, right, mirrored): padded[target][:, down : down + 8, right : right + 8][:, :, ::step]
                for down in range(5)
                for right in range(5)
                for mirrored, step in ((False, 1), (True, -1))
            }
            found = [place for place, window in windows.items() if np.array_equal(pixel, window)]
            assert len(found) == 1
            seen.add(found[0])
    assert len(seen) > 6 and len({mirrored for _, _, mirrored in seen}) == 2


def test_without_flip_and_pad_the_images_come_unchanged() -> None:
    images, _ = numbered(6)
    for pixels, targets in run(6, 3, flip=False, pad=0):
        np.testing.assert_array_equal(pixels.round().numpy().astype(np.uint8), images[targets.numpy()])


def test_the_same_epoch_is_the_same_and_another_one_another() -> None:
    first, again, other = (torch.cat([pixels for pixels, _ in run(16, 4, epoch=e)]) for e in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}) == 400


@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_several_processes_make_up_the_batch(world: int) -> None:
    whole = run(24, 6)
    parts = [run(24, 6, rank=rank, world=world) for rank in range(world)]
    for step, (pixels, targets) in enumerate(whole):
        assert torch.equal(torch.cat([part[step][0] for part in parts]), pixels)
        assert torch.equal(torch.cat([part[step][1] for part in parts]), targets)


def test_normalization_is_that_of_the_definition() -> None:
    normalization = InputNormalization((0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
    images, _ = numbered(4)
    ((pixels, _),) = batches(4, normalization).in_order(4)
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (normalization.mean, normalization.std))
    # float32 rounding of values of size 5
    np.testing.assert_allclose(pixels.numpy(), (images / 255 - mean) / std, atol=2e-6)


def test_a_device_makes_the_same_batches_from_bytes_and_never_waits() -> None:
    images, labels = batches(40).images, batches(40).labels

    def epoch(device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        made = Batches(images, labels, InputNormalization(), device, torch.channels_last)
        return made.epoch(16, 3, 1, flip=True, pad=4)

    with Device() as gpu:
        parts = epoch(torch.device("cuda"))
        first = [tensor.cpu() for tensor in next(parts)]
        gpu.clear()
        pixels, targets = next(parts)
        assert not gpu.waits
        # Pixels as bytes, with a label, two offsets and a flag for each image.
        assert gpu.carried == pixels.numel() + 16 * (8 + 8 + 8 + 1)
        found = [*first, pixels.cpu(), targets.cpu()]
    expected = [tensor for part in epoch(torch.device("cpu")) for tensor in part]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_held_out_images_are_counted_with_one_wait() -> None:
    images, labels = batches(520).images, batches(520).labels  # three chunks
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 6 * 6, 520))
    network.eval().requires_grad_(False)

    def right(device: torch.device) -> int:
        made = Batches(images, labels, InputNormalization(), device, torch.contiguous_format)
        return finetune._right(network, layers, parse("fixed"), made)

    layers = wrap.attach(network)
    with torch.no_grad():
        here = right(torch.device("cpu"))
        with Device() as gpu:
            network.to("cuda")
            there = right(torch.device("cuda"))
            # Beside the mean and the standard deviation on their way there.
            assert [what for what, _ in gpu.waits if "pageable" not in what] == ["_local_scalar_dense"]
    assert there == here
