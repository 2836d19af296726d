"""What every native corruption promises, by being registered."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch

from lnbench.corruptions import native, registry
from lnbench.corruptions.rng import Key
from tests.oracle.pictures import photographs, to_batch

NAMES = registry.names()
PAIRS = [(table, name) for name in NAMES for table in registry.find(name).tables]
RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow",
    "frost", "fog", "elastic_transform", "spatter",
}  # fmt: skip
# Where the authors turn several knobs at once, or a small picture shows one step or direction more
# than another, not every severity is worse than the one before: least ratio of the fifth to the first.
IRREGULAR = {
    "motion_blur": 1.2,
    "glass_blur": 1.2,
    "snow": 1.0,
    "frost": 1.2,
    "fog": 1.1,
    "pixelate": 1.2,
    "elastic_transform": 0.3,
    "spatter": 0.8,
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Each with the table it asks for; a corruption that lacks it is tried with its first.
SIZES = {"32": (32, 32, "cifar"), "64": (64, 64, "tiny-imagenet"), "224": (224, 224, "imagenet"),
         "37x61": (37, 61, "imagenet")}  # fmt: skip


@functools.cache
def pictures(height: int, width: int, device: str) -> torch.Tensor:
    """Five images: photographs, and one of them again under another id."""
    batch = to_batch(photographs(height, width)[: 2 if height > 100 else 4])
    return torch.cat([batch, batch[:1]]).to(device)


def corrupt(pixels: torch.Tensor, name: str, severity: int, table: str, key: Key) -> torch.Tensor:
    tables = registry.find(name).tables
    table = table if table in tables else next(iter(tables))
    return native.corrupt(pixels, name, severity, key, registry.parameters(table, name, severity))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_shape_repeat_and_independence_of_the_batch(name: str, device: str, size: str) -> None:
    height, width, table = SIZES[size]
    pixels = pictures(height, width, device)
    before = pixels.clone()
    count = len(pixels)
    ids = torch.arange(100, 100 + count, device=device)
    whole = corrupt(pixels, name, 3, table, Key(1, ids))
    assert whole.shape == pixels.shape and whole.dtype == torch.uint8 and whole.device == pixels.device
    assert torch.equal(pixels, before), "the input was changed"
    assert not torch.equal(whole, pixels)

    order = torch.arange(count - 1, -1, -1, device=device)
    assert torch.equal(corrupt(pixels[order], name, 3, table, Key(1, ids[order])), whole[order])
    alone = [corrupt(pixels[i : i + 1], name, 3, table, Key(1, ids[i : i + 1])) for i in (0, count - 1)]
    assert torch.equal(torch.cat(alone), whole[[0, -1]])
    pair = corrupt(pixels[1:3], name, 3, table, Key(1, ids[1:3]))
    assert torch.equal(pair, whole[1:3])

    random = not torch.equal(corrupt(pixels, name, 3, table, Key(2, ids)), whole)
    assert random == (not torch.equal(whole[0], whole[-1])), "another seed, and the same picture's other id"
    assert random == (name in RANDOM) or name not in registry.BENCHMARK


@pytest.mark.parametrize(("table", "name"), PAIRS)
def test_distance_to_clean_grows_with_severity(table: str, name: str) -> None:
    side = {"imagenet": 64, "tiny-imagenet": 64, "cifar": 32}[table]
    pixels = pictures(side, side, "cpu").repeat(2, 1, 1, 1)
    key = Key(0, torch.arange(len(pixels)))
    distances = [
        (corrupt(pixels, name, severity, table, key).float() - pixels).abs().mean().item()
        for severity in range(1, 6)
    ]
    assert all(distance > 0 for distance in distances)
    if name == "saturate":  # two severities take colour away, three add it
        assert distances[1] > distances[0] and distances[4] > distances[3] > distances[2]
    elif name in IRREGULAR:
        assert distances[4] > distances[0] * IRREGULAR[name]
    else:
        assert all(later > earlier for earlier, later in itertools.pairwise(distances))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0, 255, 93])
def test_constant_images_survive(level: int, name: str) -> None:
    pixels = torch.full((2, 3, 32, 33), level, dtype=torch.uint8)
    for table in registry.find(name).tables:
        result = corrupt(pixels, name, 5, table, Key(0, torch.arange(2)))
        assert result.shape == pixels.shape
        if name.endswith("blur") or name in ("contrast", "pixelate"):
            # Sums of weights that are nearly 1 fall to either side of a whole number; the disks of
            # radius 8 and 10 are 1.3 and 1.1 % too bright, as the definition has it.
            brighter = 4 if name == "defocus_blur" else 0
            assert (result.int() - level).ge(-1).all() and (result.int() - level).le(brighter).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a CUDA device with the CPU: none here")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_devices_agree(name: str, size: str) -> None:
    height, width, table = SIZES[size]
    pixels = pictures(height, width, "cpu")
    ids = torch.arange(len(pixels))
    here = corrupt(pixels, name, 3, table, Key(1, ids)).int()
    there = corrupt(pixels.cuda(), name, 3, table, Key(1, ids.cuda())).cpu().int()
    difference = (here - there).abs()
    assert difference.max() <= 1 and difference.count_nonzero() <= difference.numel() / 10_000
