"""Corruptions for one's own images: a batch, an array, a picture, or a transform in a data loader."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lnbench.corruptions import native, rng
from lnbench.corruptions.registry import families, find, parameters
from lnbench.errors import DataError, UsageError
from lnbench.suite import Suite
from lnbench.types import CLEAN_NAME

Images = TypeVar("Images", Tensor, "np.ndarray[Any, Any]", Image.Image)

_EIGHT_BIT = (
    "corruptions act on 8-bit pixels, before mean and std: give uint8 images, in a transform before"
    " ToTensor, ToDtype and Normalize"
)


def corrupt(
    images: Images,
    corruption: str,
    severity: float,
    *,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    parameters: Sequence[float] | None = None,
) -> Images:
    """Corrupt images, and give them back as the same kind, shape and device.

    What an image becomes depends on (seed, its id, corruption, severity) alone. Corrupting a whole dataset in
    its order gives the pixels that `evaluate` sees under the same seed.

    Args:
        images: uint8, RGB, at least 32 pixels a side: a tensor or array (N, 3, H, W), (N, H, W, 3), (3, H, W)
            or (H, W, 3), or a PIL image of mode RGB.
        corruption: one of `lnbench.corruptions()`, or "clean".
        severity: 1 to 5, of the parameter table for the images' size (shorter side under 48 pixels: cifar;
            under 128: tiny-imagenet; else imagenet).
        seed: any whole number.
        ids: the number of each image in its dataset; 0, 1, … otherwise.
        parameters: the corruption's own numbers in place of the table's.

    Raises:
        UsageError: an unknown corruption, or a severity or number that it does not have.
        DataError: images that are not 8-bit RGB, or too small.

    Example:
        >>> import lnbench, numpy as np
        >>> images = np.full((2, 64, 64, 3), 128, np.uint8)
        >>> foggy = lnbench.corrupt(images, "fog", 3, seed=0)
        >>> foggy.shape, foggy.dtype
        ((2, 64, 64, 3), dtype('uint8'))
    """
    pixels = _batch(images)
    numbers = range(len(pixels)) if ids is None else ids
    if len(numbers) != len(pixels):
        raise UsageError(f"{len(pixels)} images but {len(numbers)} ids")
    key = rng.Key(seed, torch.as_tensor(list(numbers), dtype=torch.int64, device=pixels.device))
    return _like(images, _corrupted(pixels, corruption, severity, key, parameters))


class Corrupt(nn.Module):
    """A corruption as a transform, in the style of torchvision.transforms.v2; picklable.

    Takes what `corrupt` takes, alone or followed by anything else (a label), which it hands through. The
    noise of an image follows from its pixels, the seed and the epoch: the same image gets the same noise in
    any worker and any order. Put it before ToTensor, ToDtype and Normalize.

    `Corrupt(name, severity)` always does the same; `Corrupt.random` draws for each image what to do. With
    `set_epoch(n)` before each epoch an image gets other noise and another draw in each, also in workers that
    live on.

    Example:
        >>> import lnbench
        >>> from PIL import Image
        >>> picture = Image.new("RGB", (64, 48), "teal")
        >>> lnbench.Corrupt("fog", severity=3)(picture).size
        (64, 48)
        >>> lnbench.Corrupt.random(["noise", "blur"], severities=(1, 5))
        Corrupt.random(['gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur', \
'motion_blur', 'zoom_blur'], severities=(1, 5), seed=0)
    """

    def __init__(self, corruption: str, severity: float = 3, *, seed: int = 0) -> None:
        """Raises UsageError for an unknown corruption or a severity it does not have."""
        super().__init__()
        self._names: tuple[str, ...] = _checked([corruption], [severity])
        self._severities: tuple[float, ...] = (severity,)
        self._random = False
        self.seed = seed
        # In shared memory: workers that live through all epochs see what set_epoch says.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    @classmethod
    def random(
        cls, corruptions: Sequence[str], severities: Sequence[float] = (1, 2, 3, 4, 5), *, seed: int = 0
    ) -> Corrupt:
        """For each image one of the corruptions at one of the severities, each pair with equal chance.

        `corruptions`: names or families (`noise`, `blur`, `weather`, `digital`, `extra`), and `clean` for no
        change. `severities` are the values drawn from, not a range. Raises UsageError.
        """
        names = [name for one in corruptions for name in families().get(one, (one,))]
        if not names or not severities:
            raise UsageError("Corrupt.random needs at least one corruption and one severity")
        made = cls(CLEAN_NAME, 0, seed=seed)
        made._names = _checked(names, severities)
        made._severities, made._random = tuple(severities), True
        return made

    def set_epoch(self, epoch: int) -> None:
        """Other noise and another draw for every image from now on; the same again for the same number."""
        self._epoch.fill_(epoch)

    def forward(self, images: Images, *rest: Any) -> Any:
        """The corrupted images, as the same kind; with more arguments, a tuple that ends in those.

        Raises DataError as `corrupt` does.
        """
        pixels = _batch(images)
        ids = torch.tensor([_content_id(one) for one in pixels], dtype=torch.int64, device=pixels.device)
        key = rng.Key(self.seed, ids).stream(int(self._epoch))
        draw = key.stream("draw")
        names = rng.integers(draw.stream("corruption"), 0, len(self._names), ()).tolist()
        severities = rng.integers(draw.stream("severity"), 0, len(self._severities), ()).tolist()
        out = torch.empty_like(pixels)
        for pair in set(zip(names, severities, strict=True)):
            rows = [n for n, own in enumerate(zip(names, severities, strict=True)) if own == pair]
            part = torch.tensor(rows, device=pixels.device)
            condition = self._names[pair[0]], self._severities[pair[1]]
            out[part] = _corrupted(pixels[part], *condition, rng.Key(key.seed, ids[part]))
        made = _like(images, out)
        return (made, *rest) if rest else made

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._epoch.share_memory_()

    def __repr__(self) -> str:
        if self._random:
            return f"Corrupt.random({list(self._names)}, severities={self._severities}, seed={self.seed})"
        return f"Corrupt({self._names[0]!r}, severity={self._severities[0]:g}, seed={self.seed})"


def _checked(names: Sequence[str], severities: Sequence[float]) -> tuple[str, ...]:
    """The names, once each has numbers for every severity."""
    for name in names:
        for severity in severities if name != CLEAN_NAME else ():
            for table in find(name).tables:
                parameters(table, name, severity)
    return tuple(dict.fromkeys(names))


def _content_id(pixels: Tensor) -> int:
    """A number that follows from the pixels uint8 (3, H, W) alone."""
    content = pixels.contiguous().cpu().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def _corrupted(
    pixels: Tensor, corruption: str, severity: float, key: rng.Key, numbers: Sequence[float] | None = None
) -> Tensor:
    if corruption == CLEAN_NAME or not len(pixels):
        return pixels
    own = {} if numbers is None else {corruption: {severity: tuple(numbers)}}
    table = Suite().table_for(min(pixels.shape[2:]))
    return native.corrupt(pixels, corruption, severity, key, parameters(table, corruption, severity, own))


def _batch(images: Tensor | np.ndarray[Any, Any] | Image.Image) -> Tensor:
    """As uint8 (N, 3, H, W), on the device of `images`."""
    if isinstance(images, Image.Image):
        if images.mode != "RGB":
            raise DataError(f"a picture of mode {images.mode}; corruptions take RGB: image.convert('RGB')")
        images = np.array(images)
    if not isinstance(images, np.ndarray | Tensor):
        raise DataError(f"images are a {type(images).__name__}, not a tensor, an array or a PIL image")
    if images.dtype not in (np.uint8, torch.uint8):
        raise DataError(f"images are {str(images.dtype).removeprefix('torch.')}; {_EIGHT_BIT}")
    pixels = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
    pixels = pixels.as_subclass(Tensor)
    if pixels.ndim not in (3, 4) or 3 not in (pixels.shape[-3], pixels.shape[-1]):
        raise DataError(f"images of shape {tuple(pixels.shape)}; need (3, H, W), (H, W, 3) or a batch")
    pixels = pixels if pixels.ndim == 4 else pixels[None]
    return pixels if pixels.shape[1] == 3 else pixels.permute(0, 3, 1, 2)


def _like(images: Images, pixels: Tensor) -> Images:
    """`pixels` (N, 3, H, W) as the kind and shape that `images` are."""
    if isinstance(images, Image.Image):
        return Image.fromarray(pixels[0].permute(1, 2, 0).contiguous().numpy())
    if images.shape[-3] != 3:
        pixels = pixels.permute(0, 2, 3, 1)
    pixels = pixels.reshape(tuple(images.shape)).contiguous()
    if isinstance(images, np.ndarray):
        return pixels.numpy()
    # torchvision's tv_tensors.Image stays one
    return pixels if type(images) is Tensor else pixels.as_subclass(type(images))
