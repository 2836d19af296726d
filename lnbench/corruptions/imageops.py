"""Image operations the corruptions share, on float planes (B, C, H, W) in grey levels 0–255."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

from lnbench.lazy import F, np, torch

Border = Literal["nearest", "mirror"]
"""What lies beyond the edge, in scipy's words: nearest a a|a b c, mirror c b|a b c (OpenCV: reflect101)."""

NUDGE = 2e-4
"""Grey levels added or taken before truncation where exact arithmetic gives a whole number.

Float32 sums of a flat region come out a few 1e-5 beside it, on either side; a nudge larger than
that and far smaller than a level makes the result independent of device and order of summation.
"""


def truncate(levels: torch.Tensor) -> torch.Tensor:
    """Clip to 0–255 and drop the fraction, as `np.uint8` does. Works in place: `levels` is spent."""
    return levels.clamp_(0, 255).to(torch.int16).to(torch.uint8)  # faster on a CPU than in one step


def over(values: torch.Tensor, divisor: float) -> torch.Tensor:
    """Divide in place, rounded alike everywhere: CUDA multiplies by the reciprocal of a Python number."""
    return values.div_(values.new_full((), divisor))


def to_nearest(levels: torch.Tensor) -> torch.Tensor:
    """Clip to 0–255 and round half up. Works in place: `levels` is spent."""
    return truncate(levels.add_(0.5))


def stacked(pixels: torch.Tensor, multiple: int = 1) -> torch.Tensor:
    """Return uint8 (B, C, H, W) as float32 (1, B·C, H, W) in the layout that runs plane by plane fastest.

    On a CPU the planes lie interleaved (channels last), so vector units work across the batch;
    `multiple` fills their number up with black ones, where a partly filled vector would take
    another path through the arithmetic than a full one.
    """
    planes = pixels.view(1, -1, *pixels.shape[2:])
    if pixels.device.type != "cpu":
        return planes.to(torch.float32)
    missing = -planes.shape[1] % multiple
    if missing:
        planes = torch.cat([planes, planes.new_zeros(1, missing, *planes.shape[2:])], dim=1)
    return planes.to(torch.float32, memory_format=torch.channels_last)


def unstacked(planes: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Undo `stacked` on a result of `truncate`: uint8 (1, ≥ B·C, H, W) -> (B, C, H, W), contiguous."""
    return planes[:, : shape[0] * shape[1]].contiguous().view(shape)


def pad(planes: torch.Tensor, margin: int, border: Border) -> torch.Tensor:
    """Extend float (B, C, H, W) by `margin` on all sides; for `mirror` it must be under H and W."""
    return F.pad(planes, (margin,) * 4, mode="replicate" if border == "nearest" else "reflect")


def gaussian_taps(sigma: float) -> tuple[float, ...]:
    """Return the weights of scipy's and scikit-image's gaussian filter, cut at 4 sigma; their sum is 1."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    return tuple((weights / weights.sum()).tolist())


def correlate(
    planes: torch.Tensor, weights: tuple[tuple[float, ...], ...], *, transpose: bool = False
) -> torch.Tensor:
    """Correlate every plane of (B, C, H, W) with one kernel (h, w), without padding.

    `transpose` takes the kernel's transpose. Runs as one depthwise convolution over all planes,
    where a plane's sums do not depend on its neighbours in the batch.
    """
    batch, channels, height, width = planes.shape
    kernel = _kernel(weights, transpose, planes.device)
    count = batch * channels
    stacked = planes if batch == 1 else planes.reshape(1, count, height, width)
    result = F.conv2d(stacked, kernel.expand(count, *kernel.shape[1:]), groups=count)
    return result if batch == 1 else result.view(batch, channels, *result.shape[2:])


@lru_cache(maxsize=64)
def _kernel(weights: tuple[tuple[float, ...], ...], transpose: bool, device: torch.device) -> torch.Tensor:
    kernel = torch.tensor(weights, dtype=torch.float64)
    return (kernel.t() if transpose else kernel)[None, None].contiguous().to(torch.float32).to(device)


def motion_blur(planes: torch.Tensor, radius: float, sigma: float, degrees: torch.Tensor) -> torch.Tensor:
    """Blur each image of float (B, C, H, W) along its own direction, `degrees` (B,).

    ImageMagick's MotionBlurImage (effect.c): a one-sided gaussian of 2·radius + 1 weights, pixel i
    taken i steps along the angle with each coordinate rounded half down, beyond the edge the
    nearest pixel.
    """
    batch, channels, height, width = planes.shape
    weights = _motion_weights(radius, sigma, planes.device)
    taps = len(weights)
    margin = taps  # one more than the longest step, so that position 0 is never read
    padded = pad(planes, margin, "nearest")
    stride = padded.shape[3]
    # Every run of `width` values in memory is a row to choose from: shifting is choosing another.
    rows = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    starts = _row_starts(batch, channels, height, width, margin, planes.device)
    offset = motion_offsets(degrees, taps, stride).to(starts.dtype).view(batch, 1, 1, taps)
    index = (starts + offset).view(-1, taps)
    # With a padding index (never met) CPUs take the path that reads rows in place.
    blurred = F.embedding_bag(
        index, rows, mode="sum", per_sample_weights=weights.expand(len(index), taps), padding_idx=0
    )
    return blurred.view(planes.shape)


def motion_offsets(degrees: torch.Tensor, taps: int, stride: int) -> torch.Tensor:
    """Return how far off each tap's pixel lies in planes with rows of `stride`: float64 (B, taps)."""
    angle = torch.deg2rad(degrees.to(torch.float64)).view(-1, 1)
    step = torch.arange(taps, device=degrees.device, dtype=torch.float64)
    down = torch.ceil(step * torch.sin(angle) - 0.5)
    right = torch.ceil(step * torch.cos(angle) - 0.5)
    return down * stride + right


@lru_cache(maxsize=16)
def _motion_weights(radius: float, sigma: float, device: torch.device) -> torch.Tensor:
    taps = 2 * math.ceil(radius) + 1
    weights = torch.exp(-torch.arange(taps, dtype=torch.float64).square() / (2 * sigma**2))
    return (weights / weights.sum()).to(torch.float32).to(device)


@lru_cache(maxsize=16)
def _row_starts(
    batch: int, channels: int, height: int, width: int, margin: int, device: torch.device
) -> torch.Tensor:
    """Position of each row's first pixel in the padded planes, (B, C, H, 1), int32 if that will do."""
    stride = width + 2 * margin
    plane = torch.arange(batch * channels, device=device).view(batch, channels, 1, 1) * (
        (height + 2 * margin) * stride
    )
    row = (torch.arange(height, device=device) + margin).view(1, 1, -1, 1) * stride
    starts = plane + row + margin
    small = batch * channels * (height + 2 * margin) * stride < 2**31
    return starts.to(torch.int32) if small else starts


def clipped_zoom(planes: torch.Tensor, zoom: float) -> torch.Tensor:
    """Enlarge the centre of (B, C, H, W) by `zoom` ≥ 1 to the same size, bilinear.

    hendrycks/robustness `clipped_zoom`: scipy.ndimage.zoom(order=1) of the centre ⌈H/zoom⌉ × ⌈W/zoom⌉,
    trimmed to H × W; its first and last samples lie on the crop's edges.
    """
    height, width = planes.shape[2:]
    rows, columns = math.ceil(height / zoom), math.ceil(width / zoom)
    top, left = (height - rows) // 2, (width - columns) // 2
    size = (round(rows * zoom), round(columns * zoom))
    crop = planes[:, :, top : top + rows, left : left + columns]
    large = F.interpolate(crop, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[:, :, top : top + height, left : left + width]
