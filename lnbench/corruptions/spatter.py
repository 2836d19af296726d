"""Spatter: drops of water or mud, made from smoothed noise."""

from __future__ import annotations

from lnbench.corruptions import outline
from lnbench.corruptions.registry import TINY, corruption, whole
from lnbench.corruptions.rng import Key, normal
from lnbench.corruptions.smooth import smooth
from lnbench.lazy import F, torch

THRESHOLDS = 50, 150  # of outlines: of gradients followed from others, and of those
WATER = (175, 238, 238)  # pale turquoise
_MUD = (63, 42, 20)  # brown


@corruption(
    "spatter",
    family="extra",
    parameters={
        "mean": (-10, 10),
        "scale": (0, 10),
        "sigma": (TINY, 64),
        "threshold": (-10, 10),
        "intensity": (0, 100),
        "mud": whole(0, 1),
    },
    tables={
        "imagenet": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "tiny-imagenet": (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        "cifar": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
    },
    reference="spatter",
    elements=600_000,
)
def spatter(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Spatter the picture. Uint8 (B, 3, H, W) in and out.

    `parameters = (mean, scale, sigma, threshold, intensity, mud)`: of the noise, its smoothing, the
    least that is liquid, the opacity of water or smoothing of mud, and 0 for water, 1 for mud.
    """
    return spatter_from_field(pixels, parameters, normal(key, tuple(pixels.shape[2:])))


def spatter_from_field(
    pixels: torch.Tensor, parameters: tuple[float, ...], field: torch.Tensor
) -> torch.Tensor:
    """Spatter with the drops of `field`, standard normal float32 (B, H, W)."""
    mean, scale, sigma, threshold, intensity, mud = parameters
    # In float64: one pixel of the layer rounded otherwise can change the brightest drop, and so all.
    layer = smooth(field.to(torch.float64), sigma, truncate=4, border="nearest").mul_(scale).add_(mean)
    layer = F.threshold(layer, threshold, 0.0)
    image = pixels.to(torch.float32)
    if mud:
        stain = smooth((layer > threshold).to(torch.float32), intensity, truncate=4, border="nearest")
        stain = F.threshold(stain, 0.8, 0.0)
        image.mul_(stain.neg().add_(1)[:, None])
        colors = _MUD
    else:
        liquid = layer.mul_(255).to(torch.int16).bitwise_and_(255)  # above 1 the authors' bytes wrap around
        stain = liquid * relief(liquid)
        stain *= intensity / stain.amax((1, 2), keepdim=True).clamp_min(1)
        colors = WATER
    for plane, color in zip(image.unbind(1), colors, strict=True):
        plane.add_(stain, alpha=color)
    return image.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def relief(liquid: torch.Tensor) -> torch.Tensor:
    """Return how drops reflect light: int16 (B, H, W) of 0–255 -> float32 (B, H, W) of 0–255.

    The distance to their outlines, averaged over 3×3, its histogram equalized, lit from one side and
    averaged again, each result 8 bits.
    """
    away = outline.distance(outline.canny(liquid, *THRESHOLDS)).to(torch.float32)
    # Whole numbers must not be truncated to the one below; the next mean is 1 / (9 · UNIT) away.
    mean = _box(away).mul_(1 / (9 * outline.UNIT)).add_(1e-5).to(torch.int16)
    padded = _pad(_equalize(mean, outline.FAR + 1))
    lit = padded[:, 2:, 2:] - padded[:, :-2, :-2]
    lit = lit.mul_(2).add_(padded[:, 1:-1, 1:-1]).add_(padded[:, 1:-1, 2:]).add_(padded[:, 2:, 1:-1])
    lit.sub_(padded[:, :-2, 1:-1]).sub_(padded[:, 1:-1, :-2]).clamp_(0, 255)
    return _box(lit).to(torch.float32).mul_(1 / 9).add_(0.5).floor_()


def _equalize(plane: torch.Tensor, levels: int) -> torch.Tensor:
    """Spread the histogram over 0–255 as cv2.equalizeHist: int16 (B, H, W) below `levels`."""
    index = plane.flatten(1).to(torch.int64)
    counts = torch.zeros((len(plane), levels), device=plane.device)
    counts.scatter_add_(1, index, counts.new_ones(()).expand_as(index))
    return equalizing(counts).gather(1, index).view_as(plane)


def equalizing(counts: torch.Tensor) -> torch.Tensor:
    """What each level becomes: float32 (B, levels), how many there are of each -> int16 (B, levels)."""
    below = counts.cumsum(1)
    first = (below > 0).to(torch.uint8).argmax(1, keepdim=True)  # lowest level present
    lowest = counts.gather(1, first)
    rest = below[:, -1:] - lowest
    table = ((below - lowest) * (255 / rest.clamp_min(1))).round_().clamp_min_(0)
    table = torch.where(rest == 0, first.to(torch.float32), table)  # one level only stays what it is
    return table.to(torch.int16)


def _pad(plane: torch.Tensor) -> torch.Tensor:
    """Add a border of one pixel, mirrored without repeating the edge (cv2.BORDER_REFLECT_101)."""
    rows = torch.cat((plane[:, 1:2], plane, plane[:, -2:-1]), 1)
    return torch.cat((rows[:, :, 1:2], rows, rows[:, :, -2:-1]), 2)


def _box(plane: torch.Tensor) -> torch.Tensor:
    """Sum 3×3 neighborhoods."""
    padded = _pad(plane)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
