"""Resize and centre crop on PIL pictures, bit for bit as torchvision.transforms does it."""

from __future__ import annotations

from PIL import Image

from lnbench.data.decode import MAX_PIXELS, Unreadable
from lnbench.types import Geometry

UNCHANGED = Geometry()

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


def as_stored(size: tuple[int, int], geometry: Geometry) -> Geometry:
    """What to do with pictures of `size` (height, width) that were corrupted at the network's size already.

    Nothing, where they have the network's size: a second resize and crop would show it other pictures than
    the first. Else the geometry as it is.
    """
    if untouched(size, geometry):
        return geometry
    target = geometry.resize if geometry.crop is None else geometry.crop
    sides = (target, target) if isinstance(target, int) else target
    return UNCHANGED if size == sides else geometry


def untouched(size: tuple[int, int], geometry: Geometry) -> bool:
    """Whether pictures of `size` (height, width) come out of `fit` as they were."""
    crop = (geometry.crop, geometry.crop) if isinstance(geometry.crop, int) else geometry.crop
    kept = geometry.resize is None or resized(*size, geometry.resize) == size
    return kept and crop in (None, size)


def fit(picture: Image.Image, geometry: Geometry) -> Image.Image:
    """Bring an RGB picture to the network's size; raises `Unreadable` for impossible proportions."""
    if geometry.resize is not None:
        height, width = resized(picture.height, picture.width, geometry.resize)
        if height * width > MAX_PIXELS:
            raise Unreadable(f"{picture.width}×{picture.height} pixels would grow to {width}×{height}")
        if (width, height) != picture.size:
            picture = picture.resize((width, height), _FILTERS[geometry.interpolation])
    if geometry.crop is not None:
        crop = geometry.crop
        picture = _centre_crop(picture, *((crop, crop) if isinstance(crop, int) else crop))
    return picture


def resized(height: int, width: int, size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) after a resize: an int is the length of the shorter side, the longer rounds down."""
    if not isinstance(size, int):
        return size
    short, long = min(height, width), max(height, width)
    scaled = int(size * long / short)
    return (scaled, size) if width <= height else (size, scaled)


def _centre_crop(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Cut (height, width) from the middle; sides that are too short are first padded with black."""
    # torchvision pads with the odd pixel at the right and bottom, then cuts at half the remainder,
    # rounded half to even (Python's round).
    padded_width, padded_height = max(picture.width, width), max(picture.height, height)
    if (padded_width, padded_height) != picture.size:
        canvas = Image.new("RGB", (padded_width, padded_height))
        canvas.paste(picture, ((padded_width - picture.width) // 2, (padded_height - picture.height) // 2))
        picture = canvas
    top = round((picture.height - height) / 2)
    left = round((picture.width - width) / 2)
    return picture.crop((left, top, left + width, top + height))
