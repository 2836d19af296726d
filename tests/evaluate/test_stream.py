"""The stream: every image once, the same pixels in any company, batches of exactly the size asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench import config
from lnbench.data.store import Store
from lnbench.evaluate.rebatch import Rebatch
from lnbench.evaluate.stream import Stream, chunk_size
from lnbench.types import CLEAN, Condition

CPU = torch.device("cpu")
NOISE = Condition("gaussian_noise", 3)


def make_store(images: int = 23, side: int = 32, first_id: int = 0) -> Store:
    random = np.random.default_rng(5)
    return Store(
        images=random.integers(0, 256, (images, 3, side, side), dtype=np.uint8),
        labels=np.arange(images) % 4,
        ids=np.arange(first_id, first_id + images),
        classes=("a", "b", "c", "d"),
        fingerprint="0" * 64,
        source="made up",
        skipped=(),
        total=images,
        names=tuple(map(str, range(images))),
    )


def make_stream(store: Store, condition: Condition = NOISE, **options: object) -> Stream:
    chosen = {"model": "demo", "data": "demo", "table": "cifar", **options}
    run = config.resolve(config.load_preset("core"), chosen)
    return Stream(store, condition, run, CPU, seed=run.seed, corrupted=False)


def test_every_image_comes_once_in_a_seeded_order() -> None:
    stream = make_stream(make_store())
    seen = np.concatenate(list(stream.chunks()))
    assert sorted(seen) == list(range(23))
    assert not np.array_equal(seen, np.arange(23))
    again = np.concatenate(list(make_stream(make_store()).chunks()))
    assert np.array_equal(seen, again)
    other = np.concatenate(list(make_stream(make_store(), seed=1).chunks()))
    assert not np.array_equal(seen, other)


def test_pixels_do_not_depend_on_their_company() -> None:
    stream = make_stream(make_store())
    whole = stream.pixels(np.arange(23))
    for positions in ([4], [7, 4, 1], list(range(22, -1, -1))):
        assert torch.equal(stream.pixels(np.array(positions)), whole[positions])


def test_noise_belongs_to_the_id_not_to_the_position() -> None:
    store = make_store()
    part = Store(
        **{**vars(store), "images": store.images[10:], "labels": store.labels[10:], "ids": store.ids[10:]}
    )
    whole, subset = make_stream(store), make_stream(part)
    assert torch.equal(whole.pixels(np.arange(10, 23)), subset.pixels(np.arange(13)))


def test_clean_and_precomputed_pixels_pass_untouched() -> None:
    store = make_store()
    assert np.array_equal(make_stream(store, CLEAN).pixels(np.arange(5)).numpy(), store.images[:5])
    run = config.resolve(config.load_preset("core"), {"model": "demo", "data": "demo"})
    stored = Stream(store, NOISE, run, CPU, seed=0, corrupted=True)
    assert np.array_equal(stored.pixels(np.arange(5)).numpy(), store.images[:5])


def test_the_reference_backend_repeats_and_keeps_to_the_id() -> None:
    stream = make_stream(make_store(), backend="reference", table="imagenet")
    whole = stream.pixels(np.arange(6))
    assert torch.equal(stream.pixels(np.array([3, 5])), whole[[3, 5]])
    assert not np.array_equal(whole.numpy(), stream.store.images[:6])


def test_a_jpeg_round_trip_changes_corrupted_pixels_only() -> None:
    store = make_store()
    plain, jpeg = make_stream(store), make_stream(store, jpeg_roundtrip=85)
    assert not torch.equal(plain.pixels(np.arange(4)), jpeg.pixels(np.arange(4)))
    clean = make_stream(store, CLEAN, jpeg_roundtrip=85)
    assert np.array_equal(clean.pixels(np.arange(4)).numpy(), store.images[:4])


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), batch=st.integers(1, 20))
def test_rebatch_recuts_without_losing_or_reordering(sizes: list[int], batch: int) -> None:
    rebatch = Rebatch(batch)
    total = 0
    out: list[torch.Tensor] = []
    for size in sizes:
        numbers = torch.arange(total, total + size)
        rebatch.add(numbers, numbers * 2)
        total += size
        for first, second in rebatch.batches():
            assert len(first) == batch
            assert torch.equal(first * 2, second)
            out.append(first)
    assert rebatch.images == total % batch
    out += [rebatch.rest()[0]] if rebatch.images else []
    assert torch.equal(torch.cat(out), torch.arange(total))
    assert not rebatch.images


@pytest.mark.parametrize(("side", "least", "most"), [(32, 64, 64), (224, 16, 16), (64, 64, 64), (1024, 4, 4)])
def test_chunks_suit_a_cpu(side: int, least: int, most: int) -> None:
    assert least <= chunk_size(CPU, side, side) <= most
