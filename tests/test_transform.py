"""Corruptions for one's own images: the pixels of the benchmark, in any container and any worker."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import lnbench
from lnbench.corruptions import native, registry
from lnbench.corruptions.rng import Key
from lnbench.data.demo import open_demo
from lnbench.errors import DataError, UsageError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Sixteen of the demo's photographs, uint8 (16, 3, 64, 64)."""
    return open_demo("test")[0][::30]


@pytest.mark.parametrize("name", ["gaussian_noise", "fog", "glass_blur", "jpeg_compression"])
def test_a_dataset_in_its_order_gets_the_pixels_that_evaluate_sees(images: np.ndarray, name: str) -> None:
    table = registry.parameters("tiny-imagenet", name, 3)
    seen = native.corrupt(torch.from_numpy(images), name, 3, Key(5, torch.arange(len(images))), table)
    assert torch.equal(lnbench.corrupt(torch.from_numpy(images), name, 3, seed=5), seen)
    part = lnbench.corrupt(torch.from_numpy(images[7:9]), name, 3, seed=5, ids=[7, 8])
    assert torch.equal(part, seen[7:9])


def test_every_container_comes_back_as_it_was_with_the_same_pixels(images: np.ndarray) -> None:
    first = images[0]  # (3, 64, 64)
    want = lnbench.corrupt(images[:1], "fog", 3)[0]
    assert isinstance(want, np.ndarray) and want.dtype == np.uint8 and not np.array_equal(want, first)
    last = first.transpose(1, 2, 0)
    assert np.array_equal(lnbench.corrupt(last, "fog", 3), want.transpose(1, 2, 0))
    assert np.array_equal(lnbench.corrupt(last[None], "fog", 3), want.transpose(1, 2, 0)[None])
    assert np.array_equal(lnbench.corrupt(torch.from_numpy(first), "fog", 3).numpy(), want)
    picture = lnbench.corrupt(Image.fromarray(last), "fog", 3)
    assert picture.mode == "RGB" and np.array_equal(np.array(picture), want.transpose(1, 2, 0))
    wrapped = lnbench.corrupt(tv_tensors.Image(torch.from_numpy(first)), "fog", 3)
    assert isinstance(wrapped, tv_tensors.Image) and np.array_equal(wrapped.numpy(), want)
    assert np.array_equal(lnbench.corrupt(first, "clean", 0), first)


def test_own_parameters_stand_in_for_the_tables(images: np.ndarray) -> None:
    mild = lnbench.corrupt(images, "gaussian_noise", 3, parameters=(0.001,))
    assert np.abs(mild.astype(int) - images).max() <= 2


@pytest.mark.parametrize(
    "wrong, said",
    [
        (torch.zeros(1, 3, 64, 64), "float32; corruptions act on 8-bit pixels, before mean and std"),
        (np.zeros((64, 64, 3)), "float64; corruptions act"),
        (np.zeros((64, 64), np.uint8), r"shape \(64, 64\); need"),
        (Image.new("L", (64, 64)), r"mode L.*convert\('RGB'\)"),
        (np.zeros((8, 8, 3), np.uint8), "at least 32"),
        ([1, 2], "are a list"),
    ],
)
def test_what_is_no_8_bit_image_is_refused_with_the_way_out(wrong: object, said: str) -> None:
    for call in (lambda: lnbench.corrupt(wrong, "fog", 3), lambda: lnbench.Corrupt("fog")(wrong)):
        with pytest.raises(DataError, match=said):
            call()


def test_wrong_names_are_refused_when_the_transform_is_made() -> None:
    with pytest.raises(UsageError, match="did you mean fog"):
        lnbench.Corrupt("fogg")
    with pytest.raises(UsageError, match="severity 6"):
        lnbench.Corrupt.random(["noise"], severities=(1, 6))
    with pytest.raises(UsageError, match="at least one"):
        lnbench.Corrupt.random([])


class Labelled(Dataset):  # type: ignore[type-arg]
    """Pictures as PIL images through a transform, with their numbers as labels."""

    def __init__(self, images: np.ndarray, transform: torch.nn.Module) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[index].transpose(1, 2, 0))
        return self.transform(picture), index


@pytest.mark.parametrize("random", [False, True])
def test_workers_make_the_same_pixels_as_the_process_itself(images: np.ndarray, random: bool) -> None:
    corrupt = (
        lnbench.Corrupt.random(["noise", "blur"], severities=(1, 5), seed=2)
        if random
        else lnbench.Corrupt("gaussian_noise", severity=3)
    )
    data = Labelled(images, v2.Compose([corrupt, v2.PILToTensor()]))
    alone = torch.cat([x for x, _ in DataLoader(data, batch_size=3)])
    shuffled = {int(y): x for x, y in DataLoader(data, batch_size=None, shuffle=True)}
    with_workers = DataLoader(data, batch_size=5, num_workers=2, persistent_workers=True)
    assert torch.equal(torch.cat([x for x, _ in with_workers]), alone)
    assert all(torch.equal(shuffled[n], x) for n, x in enumerate(alone))
    corrupt.set_epoch(1)
    second = torch.cat([x for x, _ in with_workers])
    assert not torch.equal(second, alone), "workers that live on must see the new epoch"
    assert torch.equal(second, torch.cat([x for x, _ in DataLoader(data, batch_size=4)]))
    corrupt.set_epoch(0)
    assert torch.equal(torch.cat([x for x, _ in with_workers]), alone)


def test_a_random_transform_draws_every_pair_and_batches_as_single_images(images: np.ndarray) -> None:
    pool = torch.from_numpy(open_demo("test")[0][:200])
    transform = lnbench.Corrupt.random(["clean", "brightness"], severities=(1, 5))
    batch = transform(pool)
    assert torch.equal(batch, torch.stack([transform(one) for one in pool]))
    kinds = [lnbench.corrupt(pool, "brightness", severity) for severity in (1, 5)]
    counts = [int((batch == kind).flatten(1).all(1).sum()) for kind in (pool, *kinds)]
    assert sum(counts) == 200 and min(counts) > 30  # 100, 50 and 50 are expected


def test_it_is_a_module_of_the_torchvision_kind(images: np.ndarray) -> None:
    transform = lnbench.Corrupt("fog", severity=2, seed=4)
    picture = torch.from_numpy(images[0])
    out, label, more = transform(picture, 3, "more")
    assert label == 3 and more == "more" and torch.equal(out, transform(picture))
    for other in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        assert repr(other) == repr(transform) == "Corrupt('fog', severity=2, seed=4)"
        assert torch.equal(other(picture), out)
        assert other._epoch.is_shared()
