"""Corruptions in a few passes over memory on a GPU, written in Triton; what they replace is their reference.

The same integers and the same roundings, operation by operation: on the first images of every corruption and
its parameters both forms are computed, and unless they agree the reference goes on: to the last bit, but for
`SUMS`. So it does where Triton is not installed or cannot compile. Nothing here is used on a CPU.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from lnbench.device import current
from lnbench.lazy import torch

if TYPE_CHECKING:
    from lnbench.corruptions.rng import Key

    Kernel: TypeAlias = Callable[[torch.Tensor, tuple[float, ...], Key], torch.Tensor]

# Which file has the fused form of which corruption, under the corruption's own name.
HOMES = {
    "gaussian_noise": "noise",
    "shot_noise": "noise",
    "impulse_noise": "noise",
    "speckle_noise": "noise",
    "brightness": "color",
    "saturate": "color",
    "defocus_blur": "blur",
    "gaussian_blur": "blur",
    "elastic_transform": "elastic",
    "fog": "fog",
    "frost": "frost",
    "glass_blur": "glass",
    "motion_blur": "motion",
    "jpeg_compression": "jpeg",
    "snow": "snow",
    "spatter": "spatter",
    "zoom_blur": "zoom",
}
# Float sums, taken in another order: one grey level apart in one value of 10,000, as devices may be.
SUMS = {
    "defocus_blur",
    "elastic_transform",
    "fog",
    "gaussian_blur",
    "glass_blur",
    "motion_blur",
    "snow",
    "zoom_blur",
}
_SHARE = 1e-4
_CHECKED = 8  # images on which both forms are computed
_trusted: dict[tuple[object, ...], bool] = {}


def corrupted(
    name: str, reference: Kernel, pixels: torch.Tensor, parameters: tuple[float, ...], key: Key
) -> torch.Tensor:
    """What `reference` makes of pixels on a GPU, by the fused form where that was seen to be the same."""
    kernel = written(name)
    if kernel is None:
        return reference(pixels, parameters, key)
    with current(pixels.device):  # where Triton launches
        return _checked(name, kernel, reference, pixels, parameters, key)


def _checked(
    name: str,
    kernel: Kernel,
    reference: Kernel,
    pixels: torch.Tensor,
    parameters: tuple[float, ...],
    key: Key,
) -> torch.Tensor:
    asked = (name, parameters, pixels.device, pixels.shape[2:])
    if asked not in _trusted:
        few = slice(0, _CHECKED)
        _trusted[asked] = _agree(name, kernel, reference, pixels[few], parameters, key[few])
    return (kernel if _trusted[asked] else reference)(pixels, parameters, key)


@lru_cache(maxsize=32)
def written(name: str) -> Kernel | None:
    """The fused form of a corruption, where there is one and Triton is installed."""
    if name not in HOMES or importlib.util.find_spec("triton") is None:
        return None
    found: Kernel = getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    return found


def _agree(
    name: str,
    kernel: Kernel,
    reference: Kernel,
    pixels: torch.Tensor,
    parameters: tuple[float, ...],
    key: Key,
) -> bool:
    try:
        apart = kernel(pixels, parameters, key).int() - reference(pixels, parameters, key).int()
        differing = float((apart != 0).float().mean())
        same = differing == 0 or (name in SUMS and differing <= _SHARE and int(apart.abs().max()) == 1)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # A compiler or a driver that does not suit: of many kinds, and none need stop a run.
        _say_why(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        return False
    if not same:
        warnings.warn(f"{name}: its fused form differs on {pixels.device} and is not used", stacklevel=2)
    return same


@lru_cache(maxsize=32)
def _say_why(reason: str) -> None:
    """Once for each reason: all corruptions at all severities have the same."""
    warnings.warn(f"corruptions run in their slower form, for Triton's fails here: {reason}", stacklevel=2)
