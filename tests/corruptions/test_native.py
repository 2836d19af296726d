"""The dispatcher: refusals, clean, the parts of a batch."""

from __future__ import annotations

import pytest
import torch

from lnbench.corruptions import native, registry
from lnbench.corruptions.rng import Key
from lnbench.errors import DataError, UsageError


def batch(count: int, height: int = 32, width: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


def key(count: int) -> Key:
    return Key(0, torch.arange(count))


def test_clean_is_the_picture_itself() -> None:
    pixels = batch(2, 8, 8)
    assert native.corrupt(pixels, "clean", 0, key(2), ()) is pixels


def test_refusals() -> None:
    with pytest.raises(UsageError, match="did you mean fog"):
        native.corrupt(batch(1), "fogg", 1, key(1), ())
    with pytest.raises(DataError, match="31×40"):
        native.corrupt(batch(1, 31), "fog", 1, key(1), (1, 2))
    with pytest.raises(ValueError, match="uint8"):
        native.corrupt(batch(1).float(), "fog", 1, key(1), (1, 2))
    with pytest.raises(ValueError, match="uint8"):
        native.corrupt(batch(1)[:, :1], "fog", 1, key(1), (1, 2))


def test_parts_cover_the_batch_once_and_carry_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, list[int], int]] = []

    def kernel(pixels: torch.Tensor, parameters: tuple[float, ...], part: Key) -> torch.Tensor:
        seen.append((len(pixels), part.ids.tolist(), part.seed))
        return 255 - pixels

    two = 2 * 3 * 32 * 40
    probe = registry.Corruption(kernel, "extra", {}, {}, "", elements=two)
    monkeypatch.setitem(registry.CORRUPTIONS, "probe", probe)
    pixels = batch(5)
    assert torch.equal(native.corrupt(pixels, "probe", 2, key(5), ()), 255 - pixels)
    assert [(size, ids) for size, ids, _ in seen] == [(2, [0, 1]), (2, [2, 3]), (1, [4])]
    assert len({seed for *_, seed in seen}) == 1


def test_severities_draw_differently() -> None:
    pixels = batch(3)
    first = native.corrupt(pixels, "gaussian_noise", 1, key(3), (0.2,))
    assert not torch.equal(first, native.corrupt(pixels, "gaussian_noise", 2, key(3), (0.2,)))


@pytest.mark.parametrize(("name", "parameters"), [("gaussian_noise", (0.2,)), ("gaussian_blur", (1.0,))])
def test_memory_layout_does_not_matter(name: str, parameters: tuple[float, ...]) -> None:
    pixels = batch(3)
    strided = pixels.to(memory_format=torch.channels_last)
    expected = native.corrupt(pixels, name, 1, key(3), parameters)
    assert torch.equal(native.corrupt(strided, name, 1, key(3), parameters), expected)


def test_an_empty_batch_stays_empty() -> None:
    assert native.corrupt(batch(0), "gaussian_noise", 1, key(0), (0.2,)).shape == (0, 3, 32, 40)
