"""The contact sheet: one picture under every condition, labelled, with its histograms."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lnbench.config import RunConfig
from lnbench.corruptions import native, reference, registry
from lnbench.corruptions.rng import Key
from lnbench.data import demo
from lnbench.data.decode import Unreadable, decode
from lnbench.data.encoded import MAX_BYTES
from lnbench.data.geometry import fit
from lnbench.errors import DataError, UsageError
from lnbench.evaluate.prepare import Images
from lnbench.files import atomic, read_bytes
from lnbench.results.marks import SHEET_MARK
from lnbench.suite import Parameters, Suite
from lnbench.types import CLEAN, CLEAN_NAME, Condition, Geometry

Picture = npt.NDArray[np.uint8]  # (H, W, 3)

_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (225, 225, 225)
_CHANNELS = ((200, 30, 30), (20, 140, 40), (40, 70, 200))
_GAP = 6
_SMALLEST_TILE = 96  # smaller pictures are enlarged in whole steps, or nothing would be seen
_REPORT_TILE = 96  # nineteen corruptions stay well under a megabyte
_HISTOGRAM = 48  # height in pixels
_GAIN = 8  # differences between two backends are a few levels; shown eightfold around mid-grey


# Side of the pictures each table was made for.
_TABLE_SIDE = {"imagenet": 224, "tiny-imagenet": 64, "cifar": 32}


def load_pictures(
    paths: Sequence[Path] | None, size: int | tuple[int, int] | None, table: str
) -> list[Picture]:
    """Read picture files as a network would be given them: (H, W, 3) uint8.

    `size`: shorter side or (height, width); None takes the size the table was made for. Without paths,
    one of the photographs that scikit-image carries. Raises DataError, UsageError.
    """
    side = size or _TABLE_SIDE.get(table, _TABLE_SIDE["imagenet"])
    geometry = Geometry(resize=side, crop=side)
    pictures = []
    for path in paths or [demo.picture_folder() / "chelsea.png"]:
        try:
            fitted = fit(decode(read_bytes(path, DataError, most=MAX_BYTES)), geometry)
        except Unreadable as error:
            raise DataError(f"{path} is not a readable image: {error}") from None
        pictures.append(np.asarray(fitted))
    return pictures


def of_picture(
    picture: Picture, suite: Suite, *, seed: int, backend: str, histograms: bool, tile: int | None = None
) -> Image.Image:
    """The sheet of one picture (H, W, 3) under every condition of a suite. Raises UsageError."""
    if not suite.corruptions:
        raise UsageError("the preset names no corruptions; give --corruption")
    table = suite.table_for(min(picture.shape[:2]))
    made = rows(
        picture, suite.corruptions, suite.severities,
        table=table, overrides=suite.parameters, seed=seed, backend=backend,
    )  # fmt: skip
    return draw(made, suite.severities, histograms=histograms, tile=tile)


def stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """Several sheets, one below the other."""
    if len(sheets) == 1:
        return sheets[0]
    width, height = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole = Image.new("RGB", (width, height), _PAPER)
    y = 0
    for sheet in sheets:
        whole.paste(sheet, (0, y))
        y += sheet.height
    return whole


def save(image: Image.Image, path: Path, picture_format: str) -> None:
    """Write the sheet, whole or not at all. Raises DataError."""
    with atomic(path, DataError) as file:
        image.save(file, picture_format, quality=92)


def for_report(config: RunConfig, images: Images) -> bytes | None:
    """A PNG of one of the run's own images under its corruptions; None for a precomputed set."""
    if images.precomputed or not config.corruptions:
        return None
    picture = np.ascontiguousarray(images.clean.images[0].transpose(1, 2, 0))
    severities = sorted({config.severities[0], config.severities[-1]})
    suite = config.model_copy(update={"severities": tuple(severities)})
    drawn = of_picture(
        picture, suite, seed=config.seed, backend=config.backend, histograms=True, tile=_REPORT_TILE
    )
    buffer = io.BytesIO()
    mark = PngInfo()
    mark.add_text(*SHEET_MARK)
    drawn.save(buffer, "PNG", optimize=True, pnginfo=mark)
    return buffer.getvalue()


@dataclass(frozen=True)
class SheetRow:
    """One line of the sheet: a name and a picture for each severity."""

    name: str
    pictures: tuple[Picture, ...]


def rows(
    picture: Picture,
    corruptions: Sequence[str],
    severities: Sequence[float],
    *,
    table: str,
    overrides: Parameters,
    seed: int,
    backend: str,
) -> list[SheetRow]:
    """Corrupt one picture (H, W, 3) uint8 under every condition.

    `backend` is native, reference or both; both gives each corruption three rows: native, reference and
    their difference. The clean picture is the first column of every row.
    """
    sheet = []
    for name in corruptions:
        conditions = [Condition(name, severity) for severity in severities]
        made = {}
        if backend in ("native", "both"):
            made["native"] = [_native(picture, c, table, overrides, seed) for c in conditions]
        if backend in ("reference", "both"):
            made["reference"] = [_reference(picture, c, seed) for c in conditions]
        for which, pictures in made.items():
            label = name if len(made) == 1 else f"{name}\n{which}"
            sheet.append(SheetRow(label, (picture, *pictures)))
        if len(made) == 2:
            pairs = zip(made["native"], made["reference"], strict=True)
            grey = np.full_like(picture, 128)
            label = f"{name}\ndifference ×{_GAIN}"
            sheet.append(SheetRow(label, (grey, *(_difference(a, b) for a, b in pairs))))
    return sheet


def draw(
    sheet: Sequence[SheetRow],
    severities: Sequence[float],
    *,
    histograms: bool = False,
    tile: int | None = None,
) -> Image.Image:
    """Draw the rows as one RGB picture, column titles above, names at the left.

    `tile`: side the pictures are scaled to, in pixels; None keeps them, tiny ones enlarged.
    """
    height, width = sheet[0].pictures[0].shape[:2]
    if tile is None:
        enlarge = max(1, -(-_SMALLEST_TILE // min(height, width)))
        height, width = height * enlarge, width * enlarge
    else:
        height, width = round(height * tile / max(height, width)), round(width * tile / max(height, width))
    size = max(11, min(20, height // 10))
    font = ImageFont.load_default(size)
    names = max(font.getlength(line) for row in sheet for line in row.name.split("\n"))
    left, top = int(names) + 2 * _GAP, size + 2 * _GAP
    step_x = width + _GAP
    step_y = height + _GAP + (_HISTOGRAM + 2 if histograms else 0)
    columns = len(severities) + 1
    image = Image.new("RGB", (left + columns * step_x, top + len(sheet) * step_y), _PAPER)
    pen = ImageDraw.Draw(image)
    titles = [CLEAN_NAME, *(f"severity {severity:g}" for severity in severities)]
    for column, title in enumerate(titles):
        if font.getlength(title) > width:
            title = title.removeprefix("severity ")
        pen.text((left + column * step_x, _GAP), title, fill=_INK, font=font)
    for line, row in enumerate(sheet):
        y = top + line * step_y
        pen.multiline_text((_GAP, y), row.name, fill=_INK, font=font)
        for column, picture in enumerate(row.pictures):
            x = left + column * step_x
            resample = Image.Resampling.BOX if picture.shape[0] > height else Image.Resampling.NEAREST
            image.paste(Image.fromarray(picture).resize((width, height), resample), (x, y))
            if histograms:
                _draw_histogram(pen, picture, x, y + height + 2, width)
    return image


def _native(
    picture: Picture,
    condition: Condition,
    table: str,
    overrides: Parameters,
    seed: int,
) -> Picture:
    if condition == CLEAN:
        return picture
    pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    parameters = registry.parameters(table, condition.corruption, condition.severity, overrides)
    key = Key(seed, torch.zeros(1, dtype=torch.int64))
    corrupted = native.corrupt(pixels, condition.corruption, condition.severity, key, parameters)
    return corrupted[0].permute(1, 2, 0).contiguous().numpy()


def _reference(picture: Picture, condition: Condition, seed: int) -> Picture:
    ids = np.zeros(1, dtype=np.int64)
    corrupted: Picture = reference.corrupt(
        picture[None], condition.corruption, int(condition.severity), seed, ids
    )[0]
    return corrupted


def _difference(one: Picture, other: Picture) -> Picture:
    apart = (one.astype(np.int16) - other.astype(np.int16)) * _GAIN + 128
    return np.clip(apart, 0, 255).astype(np.uint8)


def _draw_histogram(pen: ImageDraw.ImageDraw, picture: Picture, x: int, y: int, width: int) -> None:
    """Outlines of the three channels' histograms in `width` bins, each scaled to its own 99th percentile."""
    bins = min(width, 64)
    pen.rectangle((x, y, x + width - 1, y + _HISTOGRAM), fill=_FAINT)
    counts = [np.histogram(picture[..., c], bins=bins, range=(0, 256))[0] for c in range(3)]
    # A spike (a black border, a clipped sky) would flatten the rest; it is cut off at the top instead.
    scale = max(1.0, float(np.percentile(np.concatenate(counts), 99)))
    for colour, values in zip(_CHANNELS, counts, strict=True):
        heights = np.minimum(values / scale, 1.0) * _HISTOGRAM
        points = []
        for i, value in enumerate(heights):
            points += [(x + i * width / bins, y + _HISTOGRAM - value)]
            points += [(x + (i + 1) * width / bins - 1, y + _HISTOGRAM - value)]
        pen.line(points, fill=colour, width=1)
