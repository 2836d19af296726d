"""Frost: a random crop of a photograph of ice, added to the picture."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from lnbench.corruptions.registry import corruption
from lnbench.corruptions.rng import Key, uniform
from lnbench.errors import LnbenchError
from lnbench.lazy import np, torch

# The authors draw from the first five of their six pictures; published sets know only these.
PICTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


@corruption(
    "frost",
    family="weather",
    parameters={"image_weight": (0, 10), "frost_weight": (0, 10)},
    tables={
        "imagenet": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "tiny-imagenet": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        "cifar": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    },
    reference="frost",
    elements=600_000,
)
def frost(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Add ice, `parameters = (image weight, frost weight)`. Uint8 (B, 3, H, W) in and out.

    Raises LnbenchError where the pictures of imagecorruptions are not installed.
    """
    return frost_from_field(pixels, parameters, uniform(key, (3,)))


def frost_from_field(
    pixels: torch.Tensor, parameters: tuple[float, ...], field: torch.Tensor
) -> torch.Tensor:
    """Add the ice chosen by `field`: uniform 0–1, float32 (B, 3): picture, first row, first column."""
    image_weight, frost_weight = parameters
    height, width = pixels.shape[2:]
    levels, layout = _pictures(height, width, pixels.device)
    start, chosen = _corners(field, layout, height, width)
    planes = torch.arange(3, device=start.device)[:, None] * chosen[:, 3, None, None]
    rows = torch.arange(height, device=start.device) * chosen[:, 2, None, None]
    starts = (start[:, None, None] + planes + rows).view(-1)  # (B·3·H,)
    ice = levels.as_strided((len(levels) - width + 1, width), (1, 1))[starts].view(pixels.shape)
    image = pixels.to(torch.float32).mul_(image_weight).add_(ice, alpha=frost_weight)
    return image.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def _corners(
    field: torch.Tensor, layout: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each image's crop begins (B,), and its picture's row of `layout` (B, 4)."""
    chosen = layout.index_select(0, (field[:, 0] * len(PICTURES)).to(torch.int32))
    # The upper bound is exclusive, as numpy's randint in the authors' code.
    row = (field[:, 1] * (chosen[:, 1] - height)).to(torch.int64)
    column = (field[:, 2] * (chosen[:, 2] - width)).to(torch.int64)
    return chosen[:, 0] + row * chosen[:, 2] + column, chosen


def resize_factor(height: int, width: int) -> float:
    """Return what the pictures are scaled by: 0.2, 0.3 and 1 in the authors' 32, 64 and 224 px scripts.

    Between these sizes the nearer one counts.
    """
    side = min(height, width)
    return 0.2 if side <= 48 else 0.3 if side <= 128 else 1.0


@lru_cache(maxsize=8)
def _pictures(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all pictures in one vector of 8-bit planes, and (offset, rows, columns, plane size) of each."""
    factor = resize_factor(height, width)
    parts, layout, offset = [], [], 0
    for name in PICTURES:
        picture = _load(_folder() / name)
        # A picture that is still too small for a crop is enlarged until one fits.
        least = max((height + 1) / picture.shape[1], (width + 1) / picture.shape[2])
        planes = _resize(picture, max(factor, least))
        rows, columns = planes.shape[1:]
        layout.append([offset, rows, columns, rows * columns])
        parts.append(planes.flatten())
        offset += planes.numel()
    return torch.cat(parts).to(device), torch.tensor(layout).to(device)


def _folder() -> Path:
    """Find the pictures without importing the package, which needs much that is not needed here."""
    spec = importlib.util.find_spec("imagecorruptions")
    if spec is None or not spec.submodule_search_locations:
        raise LnbenchError(
            "frost needs the pictures of imagecorruptions: pip install imagecorruptions==1.1.2"
        )
    return Path(spec.submodule_search_locations[0]) / "frost"


def _load(path: Path) -> torch.Tensor:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)
    except OSError as error:
        raise LnbenchError(
            f"{path}: cannot read this frost picture ({error}); reinstall imagecorruptions"
        ) from error


def _resize(planes: torch.Tensor, factor: float) -> torch.Tensor:
    """Resize like cv2.resize with its default, bilinear between pixel centers, no smoothing."""
    if factor == 1:
        return planes
    rows, columns = round(planes.shape[1] * factor), round(planes.shape[2] * factor)
    image = planes.to(torch.float64)
    for axis, size in ((1, rows), (2, columns)):
        places = ((torch.arange(size, dtype=torch.float64) + 0.5) / factor - 0.5).clamp(
            0, image.shape[axis] - 1
        )
        first = places.floor().long()
        second = (first + 1).clamp(max=image.shape[axis] - 1)
        shape = (-1, 1) if axis == 1 else (-1,)
        image = torch.lerp(
            image.index_select(axis, first), image.index_select(axis, second), (places - first).view(shape)
        )
    return image.add_(0.5).floor_().to(torch.uint8)
