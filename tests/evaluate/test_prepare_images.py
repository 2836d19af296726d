"""From a config to images: clean ones are one store, stored conditions one each; options reach both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lnbench.config import RunConfig, load_preset, resolve
from lnbench.data.store import Decoding
from lnbench.errors import DataError
from lnbench.evaluate.prepare import open_images
from lnbench.types import Condition, Geometry

HELD = [Condition("contrast", 1), Condition("contrast", 3)]


def config(data: str, **changes: Any) -> RunConfig:
    return resolve(load_preset("core"), {"model": "demo", "data": data, **changes})


@pytest.fixture
def clean(tmp_path: Path) -> str:
    """A folder of two classes of three images."""
    return f"folder:{written(tmp_path / 'clean')}"


@pytest.fixture
def stored(tmp_path: Path) -> str:
    """ImageNet-C folders of contrast 1 and 3 of the same images."""
    for condition in HELD:
        written(tmp_path / "set" / "contrast" / f"{condition.severity:g}", int(condition.severity))
    return f"imagenet-c:{tmp_path / 'set'}"


def written(root: Path, seed: int = 0) -> Path:
    draws = np.random.default_rng(seed)
    for name in ("a/0", "a/1", "a/2", "b/0", "b/1", "b/2"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (40, 40, 3), np.uint8)).save(root / f"{name}.png")
    return root


def broken(data: str, name: str) -> None:
    (Path(data.partition(":")[2]) / name).write_bytes(b"")


def test_clean_images_are_decoded_once_for_every_condition(clean: str) -> None:
    seen: list[tuple[int, int]] = []
    images = open_images(config(clean), Decoding(on_progress=lambda *done: seen.append(done)))
    assert not images.precomputed
    assert images.conditions == config(clean).conditions
    assert all(images.of(condition) is images.clean for condition in images.conditions)
    assert seen[-1] == (6, 6)


def test_stored_conditions_are_a_store_each(stored: str) -> None:
    images = open_images(config(stored), Decoding())
    assert images.precomputed
    assert list(images.conditions) == HELD
    first, second = (images.of(condition) for condition in HELD)
    assert images.clean.fingerprint == first.fingerprint != second.fingerprint
    assert (
        list(open_images(config(stored, corruptions=["contrast"], severities=[3]), Decoding()).conditions)
        == HELD[1:]
    )
    with pytest.raises(DataError, match="holds none of the conditions asked for"):
        open_images(config(stored, corruptions=["snow"]), Decoding())


def test_unreadable_images_stop_the_run_unless_skipped(clean: str) -> None:
    broken(clean, "a/1.png")
    with pytest.raises(DataError, match="--skip-unreadable"):
        open_images(config(clean), Decoding())
    images = open_images(config(clean, skip_unreadable=True), Decoding())
    assert images.clean.ids.tolist() == [0, 2, 3, 4, 5]
    assert [name for name, _ in images.clean.skipped] == ["a/1.png"]


def test_unreadable_images_of_a_stored_condition_too(stored: str) -> None:
    broken(stored, "contrast/1/a/1.png")
    broken(stored, "contrast/3/b/2.png")
    with pytest.raises(DataError, match="--skip-unreadable"):
        open_images(config(stored), Decoding())
    images = open_images(config(stored, skip_unreadable=True), Decoding())
    assert [name for name, _ in images.of(HELD[0]).skipped] == ["a/1.png"]
    assert [name for name, _ in images.of(HELD[1]).skipped] == ["b/2.png"]


@pytest.mark.parametrize("kind", ["clean", "stored"])
def test_limit_seed_geometry_and_cache_reach_the_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = request.getfixturevalue(kind)
    decoding = Decoding(Geometry(36), cache=tmp_path / "cache")
    chosen = set()
    for seed in range(8):
        images = open_images(config(data, limit=2, seed=seed), decoding)
        store = images.of(images.conditions[-1])
        assert store.images.shape == (2, 3, 36, 36)
        assert store.total == 6
        assert sorted(store.labels.tolist()) == [0, 1]
        chosen.add(tuple(store.ids.tolist()))
    assert len(chosen) > 1
    assert list((tmp_path / "cache").glob("*.lnstore"))
    above = open_images(config(data), Decoding(cache=tmp_path / "other", cache_above=1 << 30))
    assert len(above.clean.labels) == 6
    assert not (tmp_path / "other").exists()
