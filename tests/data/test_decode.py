"""The RGB a person sees, whatever the file; and no surprise from damaged ones."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lnbench.data.decode import MAX_PIXELS, Unreadable, decode, ready
from tests.data.conftest import pixels


def encoded(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def seen(data: bytes) -> np.ndarray:
    picture = decode(data)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def png(colour_type: int, depth: int, row: bytes, width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG written chunk by chunk: `row` is one scanline, repeated."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    extra = b"".join(chunk(data[:4], data[4:]) for data in chunks)
    body = zlib.compress((b"\0" + row) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


RGB = pixels(1, 36, 44)
GREY = RGB[:, :, 0]


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_rgb_is_untouched(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    np.testing.assert_array_equal(seen(encoded(Image.fromarray(RGB), file_format, **options)), RGB)


def test_grey_has_three_equal_channels() -> None:
    np.testing.assert_array_equal(seen(encoded(Image.fromarray(GREY), "PNG")), np.stack([GREY] * 3, -1))


def test_one_bit_is_black_and_white() -> None:
    bits = GREY > 127
    np.testing.assert_array_equal(
        seen(encoded(Image.fromarray(bits), "PNG")), np.stack([bits * np.uint8(255)] * 3, -1)
    )


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[..., None] / 255.0
    return colour * weight + 255 * (1 - weight)


def test_transparency_is_laid_on_white() -> None:
    alpha = np.broadcast_to(np.linspace(0, 255, 44).astype(np.uint8), (36, 44))
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    # Within one grey level: Pillow composes in integers.
    np.testing.assert_allclose(seen(encoded(rgba, "PNG")), on_white(RGB, alpha), atol=1)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(np.ascontiguousarray(alpha))])
    np.testing.assert_allclose(seen(encoded(la, "PNG")), on_white(np.stack([GREY] * 3, -1), alpha), atol=1)


def test_opaque_alpha_changes_nothing() -> None:
    rgba = np.dstack([RGB, np.full(GREY.shape, 255, np.uint8)])
    np.testing.assert_array_equal(seen(encoded(Image.fromarray(rgba), "PNG")), RGB)


def test_colours_hidden_under_full_transparency_stay_hidden() -> None:
    rgba = np.dstack([RGB, np.zeros(GREY.shape, np.uint8)])
    assert (seen(encoded(Image.fromarray(rgba), "PNG")) == 255).all()


def test_palette() -> None:
    picture = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(seen(encoded(picture, "PNG")), np.asarray(picture.convert("RGB")))


def test_palette_with_a_transparent_entry() -> None:
    palette = b"PLTE" + bytes([255, 0, 0, 0, 0, 255])
    data = png(3, 8, bytes([0, 1] * 20), 40, 40, palette, b"tRNS" + bytes([255, 0]))
    result = seen(data)
    assert result[0, 0].tolist() == [255, 0, 0]
    assert result[0, 1].tolist() == [255, 255, 255]


def test_palette_with_half_transparent_entries() -> None:
    palette = b"PLTE" + bytes([255, 0, 0, 0, 0, 255])
    result = seen(png(3, 8, bytes([0, 1] * 20), 40, 40, palette, b"tRNS" + bytes([128, 64])))
    np.testing.assert_allclose(result[0, 0], [255, 127, 127], atol=1)
    np.testing.assert_allclose(result[0, 1], [191, 191, 255], atol=1)


def test_rgb_with_a_transparent_colour() -> None:
    result = seen(
        png(2, 8, bytes([10, 20, 30, 40, 50, 60] * 20), 40, 40, b"tRNS" + bytes([0, 10, 0, 20, 0, 30]))
    )
    assert result[0, 0].tolist() == [255, 255, 255]
    assert result[0, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize("value", [0, 1, 128, 129, 255, 256, 32768, 65278, 65535])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled(value: int, file_format: str) -> None:
    values = np.full((36, 36), value, np.uint16)
    if file_format == "PPM":  # older Pillow reads 16-bit PGM but cannot write it
        data = b"P5 36 36 65535\n" + values.astype(">u2").tobytes()
    else:
        data = encoded(Image.fromarray(values), file_format)
    assert seen(data)[0, 0].tolist() == [round(value * 255 / 65535)] * 3


def test_16_bit_grey_of_the_other_byte_order() -> None:
    values = (np.arange(36 * 36).reshape(36, 36) * 50).astype(">u2")
    tags = b"".join(
        struct.pack(">HHII", tag, kind, 1, value << 16 if kind == 3 else value)
        for tag, kind, value in [
            (256, 3, 36), (257, 3, 36), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1),
            (278, 3, 36), (279, 4, values.nbytes),
        ]
    )  # fmt: skip
    tiff = b"MM\0*" + struct.pack(">IH", 8, 9) + tags + bytes(4)
    result = seen(tiff.ljust(200, b"\0") + values.tobytes())
    np.testing.assert_array_equal(result[..., 0], np.rint(values.astype(float) * 255 / 65535))


def test_cmyk_jpeg() -> None:
    cmyk = Image.new("CMYK", (40, 40), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    np.testing.assert_allclose(seen(encoded(cmyk, "JPEG", quality=95))[20, 20], [255, 0, 0], atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(RGB)
    # How a camera held that way stores the scene: the inverse of what a viewer does.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(seen(encoded(stored, "PNG", exif=exif)), RGB)


def test_broken_exif_is_ignored() -> None:
    data = encoded(Image.fromarray(RGB), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense")
    with ready():
        assert seen(data).shape == RGB.shape


def test_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(np.full((40, 40, 3), value, np.uint8)) for value in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert seen(data)[0, 0].tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"just text", "no image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n", "no image format"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-200], "truncated"),
        (encoded(Image.fromarray(RGB), "PNG")[:-900], "."),
        (encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "32 bits"),
        (encoded(Image.fromarray(GREY.astype(np.int32) << 20), "TIFF"), "32 bits"),
    ],
    ids=["empty", "html", "lfs", "text", "eps", "cut jpeg", "cut png", "float tiff", "int tiff"],
)
def test_unreadable_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as caught:
        decode(data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("side", [9_500, 30_000])
def test_decompression_bombs_are_refused_unopened(side: int) -> None:
    assert side * side > MAX_PIXELS
    bomb = png(0, 8, bytes(100), side, 1)
    bomb = bomb.replace(struct.pack(">II", side, 1), struct.pack(">II", side, side), 1)
    fixed = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with ready(), pytest.raises(Unreadable, match="decompression bomb"):
        decode(bomb[:29] + fixed + bomb[33:])


def test_warnings_of_others_survive() -> None:
    before = list(warnings.filters)
    with ready():
        pass
    assert list(warnings.filters) == before


SAMPLES = [
    encoded(Image.fromarray(RGB), "JPEG"),
    encoded(Image.fromarray(RGB), "JPEG", progressive=True, exif=Image.Exif().tobytes()),
    encoded(Image.fromarray(RGB), "PNG"),
    encoded(Image.fromarray(GREY), "TIFF"),
    encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    encoded(Image.fromarray(RGB), "WEBP"),
    encoded(Image.fromarray(RGB), "GIF"),
    encoded(Image.fromarray(RGB), "BMP"),
    encoded(Image.fromarray(GREY), "PPM"),
    encoded(Image.new("CMYK", (40, 40), (9, 200, 30, 4)), "JPEG"),
]


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample with some bytes changed, a stretch removed or doubled, or its end cut off."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["set", "early", "cut", "remove", "double"]))
        length = draw(st.integers(1, 40))
        if kind == "set" and data:
            data[place] = draw(st.integers(0, 255))
        elif kind == "early" and data:
            data[place % min(64, len(data))] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[place:]
        elif kind == "remove":
            del data[place : place + length]
        else:
            data[place:place] = data[place : place + length]
    return bytes(data)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(SAMPLES))
def test_damaged_images_decode_or_are_unreadable(data: bytes) -> None:
    with ready():
        try:
            picture = decode(data)
        except Unreadable as error:
            assert str(error).isprintable()
        else:
            assert picture.mode == "RGB"
