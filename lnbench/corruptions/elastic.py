"""Elastic transform: a small random affine map, then a smooth random displacement of every pixel."""

from __future__ import annotations

from lnbench.corruptions.imageops import over
from lnbench.corruptions.registry import corruption
from lnbench.corruptions.rng import Key, uniform
from lnbench.corruptions.smooth import smooth
from lnbench.lazy import F, torch


def _scaled(side: int, *fractions: tuple[float, float, float]) -> tuple[tuple[float, ...], ...]:
    return tuple((side * alpha, side * sigma, side * affine) for alpha, sigma, affine in fractions)


@corruption(
    "elastic_transform",
    family="digital",
    parameters={"alpha": (0, 10_000), "sigma": (0, 1_000), "affine": (0, 1_000)},
    tables={
        # The authors multiply by 244, a slip for 224 that the published sets carry.
        "imagenet": _scaled(
            244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
        ),
        "tiny-imagenet": _scaled(
            64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)
        ),
        "cifar": _scaled(
            32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)
        ),
    },
    reference="elastic_transform",
    elements=600_000,
)
def elastic_transform(pixels: torch.Tensor, parameters: tuple[float, ...], key: Key) -> torch.Tensor:
    """Distort by `parameters = (alpha, sigma, affine)`, in pixels. Uint8 (B, 3, H, W) in and out."""
    height, width = pixels.shape[2:]
    corners = uniform(key.stream("corners"), (3, 2)).mul_(2).sub_(1)
    if parameters[0]:
        field = uniform(key.stream("field"), (2, height, width)).mul_(2).sub_(1)
    else:
        field = corners.new_zeros((1, 2, 1, 1)).expand(len(pixels), 2, height, width)
    return elastic_from_field(pixels, parameters, corners, field)


def elastic_from_field(
    pixels: torch.Tensor, parameters: tuple[float, ...], corners: torch.Tensor, field: torch.Tensor
) -> torch.Tensor:
    """Distort by given numbers, all uniform -1–1 and float32.

    `corners` (B, 3, 2) move three points by up to `affine` pixels each; `field` (B, 2, H, W), along x
    and along y, is smoothed and moves every pixel.
    """
    alpha, sigma, affine = parameters
    image = _warp(pixels.to(torch.float32), corners * affine)
    if alpha:
        image = _displace(image, field, alpha, sigma)
    return image.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def _warp(image: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Apply the affine map that moves three points by `moves` (B, 3, 2): float32 (B, 3, H, W).

    What cv2.getAffineTransform and warpAffine (bilinear, BORDER_REFLECT_101) do.
    """
    height, width = image.shape[2:]
    parameters = torch.stack(_map(moves, height, width)).to(torch.float32)[..., None, None]
    a, b, across, c, d, down = parameters  # (B, 1, 1) each
    rows = torch.arange(height, device=image.device, dtype=torch.float32)[:, None]
    columns = torch.arange(width, device=image.device, dtype=torch.float32)
    grid = image.new_empty((len(image), height, width, 2))
    # In grid_sample's coordinates -1 and 1 lie at the first and the last pixel.
    x_scale, y_scale = 2 / (width - 1), 2 / (height - 1)
    torch.add(a * x_scale * columns, (b * rows + across) * x_scale - 1, out=grid[..., 0])
    torch.add(c * y_scale * columns, (d * rows + down) * y_scale - 1, out=grid[..., 1])
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=True)


def _map(moves: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, ...]:
    """Return the six numbers of the map, float64 (B,) each: x = a·column + b·row + c, and the same for y.

    The points are the authors': right angle at (-r, +r) of the center, r a third of the side, so the map
    needs no solver.
    """
    reach = min(height, width) // 3
    moves = moves.to(torch.float64)
    # Columns of the linear part, and the third point, from where the map is measured.
    first = over(moves[:, 1] - moves[:, 2], 2 * reach)
    second = over(moves[:, 0] - moves[:, 1], 2 * reach)
    a, b, c, d = first[:, 0] + 1, second[:, 0], first[:, 1], second[:, 1] + 1
    determinant = a * d - b * c
    determinant = torch.where(determinant.abs() < 1e-3, 1e-3, determinant)  # three points on a line
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    # The authors take (H, W) for the center's (x, y); their pictures are square.
    x, y = height // 2 - reach, width // 2 - reach
    across = x - a * (x + moves[:, 2, 0]) - b * (y + moves[:, 2, 1])
    down = y - c * (x + moves[:, 2, 0]) - d * (y + moves[:, 2, 1])
    return a, b, across, c, d, down


def _displace(image: torch.Tensor, field: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """Move every pixel by `field` (B, 2, H, W), smoothed and times `alpha`.

    What skimage.filters.gaussian (truncate 3) and scipy.ndimage.map_coordinates (order 1) do, both
    with the mirror that repeats the border's pixel.
    """
    batch, _, height, width = image.shape
    shifts = smooth(field.reshape(-1, height, width), sigma, truncate=3, border="reflect")
    across, down = shifts.view(batch, 2, height, width).unbind(1)
    rows = torch.arange(height, device=image.device, dtype=torch.float32)[:, None]
    columns = torch.arange(width, device=image.device, dtype=torch.float32)
    grid = image.new_empty((batch, height, width, 2))
    # In grid_sample's coordinates -1 and 1 lie at the outer edges of the first and the last pixel.
    torch.add(over(columns * 2 + 1, width) - 1, across, alpha=2 * alpha / width, out=grid[..., 0])
    torch.add(over(rows * 2 + 1, height) - 1, down, alpha=2 * alpha / height, out=grid[..., 1])
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
