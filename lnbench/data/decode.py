"""From the bytes of an image file to the RGB picture a person sees, or a training script reads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image, UnidentifiedImageError

from lnbench.files import reason

# What torchvision's ImageFolder suffixes hold. Not the rest of what Pillow opens: some of its readers
# (EPS) start other programs, and none of them is a photograph's format.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")

_TURNED = "lnbench orientation"  # the key of `Image.info` that carries it
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

MAX_PIXELS = 89_478_485  # Pillow's own line between a picture and a decompression bomb


class Unreadable(Exception):
    """An image that cannot be decoded; the text is the reason, in a few words."""


@contextmanager
def ready() -> Iterator[None]:
    """Prepare Pillow for decoding in threads started inside the block.

    Formats are registered beforehand, because registering them in two threads at once may lose some.
    Warnings about odd metadata would run across the progress bar, so they are silenced.
    """
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(data: bytes) -> Image.Image:
    """Decode an image file to an upright picture of mode RGB, as viewers show it; raises `Unreadable`."""
    return turned_upright(as_it_lies(data))


def as_it_lies(data: bytes) -> Image.Image:
    """Decode an image file to a picture of mode RGB as torchvision and timm read it; raises `Unreadable`.

    Its EXIF orientation is left alone; `orientation` tells it.

    Transparent pictures are laid on white, as browsers and viewers show them: dropping the alpha
    channel would bring out colours nobody sees. 16-bit grey is scaled to 8 bits. Colour profiles are
    ignored, as in training. Of an animation the first frame is taken.
    """
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise Unreadable(f"{width}×{height} pixels look like a decompression bomb")
        opened.load()
        turned = _orientation(opened)
        picture = _to_rgb(opened, opened.format or "")
        picture.info[_TURNED] = turned
        return picture
    except Unreadable:
        raise
    except Exception as error:
        # Damaged files make Pillow raise nearly anything: OSError, SyntaxError, struct.error, …
        raise Unreadable(_reason(data, error)) from error


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 2 to 8, of a picture decoded as it lies in its file; 1 where it is upright."""
    return int(picture.info.get(_TURNED, 1))


def turned_upright(picture: Image.Image) -> Image.Image:
    """A picture decoded as it lies in its file, turned as its EXIF orientation says."""
    turn = _TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _orientation(picture: Image.Image) -> int:
    with suppress(Exception):  # a damaged tag is none
        found = picture.getexif().get(0x0112, 1)
        return found if found in _TURNS else 1
    return 1


def _to_rgb(picture: Image.Image, file_format: str) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16") or (picture.mode == "I" and file_format in ("PNG", "PPM")):
        return _from_grey16(picture)
    if picture.mode in ("I", "F"):
        raise Unreadable(f"pixels of mode {picture.mode} (32 bits) have no agreed 8-bit view")
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture.convert("RGB")


def _from_grey16(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.uint32)
    if values.max(initial=0) > 0xFFFF:
        raise Unreadable("grey values beyond 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _reason(data: bytes, error: Exception) -> str:
    start = data[:200].lstrip().lower()
    if not data:
        return "empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the image (run: git lfs pull)"
    if start.startswith((b"<!doctype", b"<html")):
        return "a web page instead of an image"
    if isinstance(error, UnidentifiedImageError):
        return "no image format recognised"
    if isinstance(error, Image.DecompressionBombError):
        return "so many pixels that it looks like a decompression bomb"
    return reason(error)
