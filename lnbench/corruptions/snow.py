"""Snow: enlarged noise, thresholded, blown in a random direction, over a whitened picture."""

from __future__ import annotations

import math
from functools import lru_cache

from lnbench.corruptions import imageops
from lnbench.corruptions.registry import TINY, corruption, whole
from lnbench.corruptions.rng import Key, normal, uniform
from lnbench.lazy import F, torch


@corruption(
    "snow",
    family="weather",
    parameters={
        "mean": (-10, 10),
        "scale": (0, 10),
        "zoom": (1, 16),
        "threshold": (-10, 10),
        "radius": whole(1, 100),
        "sigma": (TINY, 1_000),
        "mix": (0, 1),
    },
    tables={
        "imagenet": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "tiny-imagenet": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        "cifar": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    },
    reference="snow",
    elements=600_000,
)
def snow(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Let it snow. Uint8 (B, 3, H, W) in and out.

    `parameters = (mean, scale, zoom, threshold, radius, sigma, mix)`: of the noise, its enlargement,
    the least that is snow, the motion blur, and the weight of the picture against a whitened one.
    """
    field = normal(key.stream("layer"), field_shape(pixels.shape[2], pixels.shape[3], parameters[2]))
    degrees = uniform(key.stream("angle"), (1,)).view(-1).mul_(90).sub_(135)
    return snow_from_field(pixels, parameters, field, degrees)


def field_shape(height: int, width: int, zoom: float) -> tuple[int, int]:
    """Return the shape of the noise: the part of the picture's middle that, enlarged, fills it."""
    return math.ceil(height / zoom), math.ceil(width / zoom)


def snow_from_field(
    pixels: torch.Tensor, parameters: tuple[float, ...], field: torch.Tensor, degrees: torch.Tensor
) -> torch.Tensor:
    """Let fall the snow of `field`, standard normal (B, h, w), along `degrees` (B,), -135 to -45."""
    mean, scale, zoom, threshold, radius, sigma, mix = parameters
    height, width = pixels.shape[2:]
    layer = _zoom(field, height, width, zoom).mul_(scale).add_(mean)
    layer = F.threshold(layer, threshold, 0.0).clamp_(0, 1).mul_(255).floor_()
    layer = imageops.motion_blur(layer[:, None], radius, sigma, degrees)[:, 0].add_(0.5).floor_()  # 8 bits
    layer = layer.add(layer.flip(1, 2))

    image = pixels.to(torch.float32)
    red, green, blue = image.unbind(1)
    white = (
        torch.mul(red, 0.299 * 1.5).add_(green, alpha=0.587 * 1.5).add_(blue, alpha=0.114 * 1.5).add_(127.5)
    )
    for plane in (red, green, blue):
        whitened = torch.maximum(plane, white).mul_(1 - mix).add_(layer)
        plane.mul_(mix).add_(whitened)
    return image.to(torch.int16).clamp_(0, 255).to(torch.uint8)


def _zoom(field: torch.Tensor, height: int, width: int, zoom: float) -> torch.Tensor:
    """Enlarge bilinearly, end points on end points as scipy.ndimage.zoom, and keep the middle."""
    first, second, share = _places(field.shape[1], height, zoom, field.device)
    spread = _spread(field.shape[2], width, zoom, field.device)
    rows = torch.bmm(field, spread.expand(len(field), -1, -1))  # (B, h, W)
    return torch.lerp(rows.index_select(1, first), rows.index_select(1, second), share)


def _coordinates(size: int, target: int, zoom: float) -> torch.Tensor:
    """Return where each of `target` outputs lies among `size` inputs, float64."""
    full = round(size * zoom)
    trim = (full - target) // 2
    return torch.arange(trim, trim + target, dtype=torch.float64) * ((size - 1) / max(full - 1, 1))


@lru_cache(maxsize=16)
def _places(
    size: int, target: int, zoom: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the two inputs of every output and the second's share (target, 1)."""
    places = _coordinates(size, target, zoom)
    first = places.floor().long().clamp_(max=size - 1)
    share = (places - first)[:, None].to(torch.float32)
    return first.to(device), (first + 1).clamp_(max=size - 1).to(device), share.to(device)


@lru_cache(maxsize=16)
def _spread(size: int, target: int, zoom: float, device: torch.device) -> torch.Tensor:
    """Return the same as a matrix (1, size, target)."""
    places = _coordinates(size, target, zoom)
    distance = (places[None] - torch.arange(size, dtype=torch.float64)[:, None]).abs()
    return (1 - distance).clamp_(min=0).to(torch.float32)[None].to(device)
