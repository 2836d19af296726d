"""What corruptions there are: a dict, and the decorator that enters one with all that belongs to it.

The benchmark's numbers are from hendrycks/robustness, ImageNet-C/create_c: make_imagenet_c.py
(`imagenet`, 224 px), make_tinyimagenet_c.py (`tiny-imagenet`, 64 px), make_cifar_c.py (`cifar`, 32 px);
the paper is Hendrycks & Dietterich, arXiv 1903.12261.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from lnbench.errors import UsageError, unknown

if TYPE_CHECKING:
    import torch

    from lnbench.corruptions.rng import Key

Kernel: TypeAlias = "Callable[[torch.Tensor, tuple[float, ...], Key], torch.Tensor]"
"""kernel(pixels uint8 (B, 3, H, W), parameters of the table, key) -> uint8 (B, 3, H, W)."""

Elements: TypeAlias = int | Callable[[tuple[float, ...]], int]
"""Elements (B·3·H·W) a kernel works on at a time on one CPU core, or what tells them from its parameters."""

Family = Literal["noise", "blur", "weather", "digital", "extra"]
"""The benchmark's families; `extra` is the hold-out set, never part of mCE."""

Table = Literal["imagenet", "tiny-imagenet", "cifar"]
TABLES: tuple[Table, ...] = get_args(Table)

MIN_SIDE = 32
"""Images must be at least this many pixels high and wide."""

TINY = 1e-6
"""The lower end of a range that leaves 0 out."""

BENCHMARK = (
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
)  # fmt: skip
"""The order of ImageNet-C, then of its hold-out set: of rows in tables and of cells in a record."""


class Range(NamedTuple):
    """What a parameter may be, both ends included."""

    low: float
    high: float
    whole: bool = False


def whole(low: int, high: int) -> Range:
    """Whole numbers from `low` to `high`."""
    return Range(low, high, whole=True)


@dataclass(frozen=True)
class Corruption:
    """All there is to one corruption; `tables` has a row of numbers for each severity from 1 on."""

    kernel: Kernel
    family: Family
    parameters: dict[str, Range]
    tables: dict[Table, tuple[tuple[float, ...], ...]]
    reference: str
    elements: Elements


CORRUPTIONS: dict[str, Corruption] = {}
"""By name, as the files come; `names` has them in order."""


def corruption(
    name: str,
    *,
    family: Family,
    parameters: Mapping[str, tuple[float, float] | Range],
    tables: Mapping[Table, Sequence[float | tuple[float, ...]]],
    reference: str = "",
    elements: Elements = 160_000,
) -> Callable[[Kernel], Kernel]:
    """Enter the decorated kernel under `name`.

    `parameters`: ranges in the kernel's order; `tables`: by severity, the bare number where there is one
    parameter; `reference`: the function of imagecorruptions that computes it, if there is one. The default
    of `elements` keeps a few float planes of its images in a second-level cache of 1 MiB. Raises
    ValueError for a name that is taken, for an unknown family and for an unknown table.

    Example:
        >>> import lnbench, torch
        >>> levels = {"cifar": (0.2, 0.4, 0.6, 0.8, 1)}
        >>> @lnbench.corruption("my_dark", family="digital", parameters={"share": (0, 1)}, tables=levels)
        ... def my_dark(pixels, parameters, key):
        ...     return (pixels * (1 - parameters[0])).to(torch.uint8)
        >>> my_dark(torch.full((1, 3, 32, 32), 100, dtype=torch.uint8), (0.4,), None).unique().tolist()
        [60]
    """
    if name in CORRUPTIONS:
        raise ValueError(f"corruption '{name}' is registered twice")
    if family not in get_args(Family) or not set(tables) <= set(TABLES):
        raise ValueError(f"corruption '{name}': unknown family or table among {family}, {', '.join(tables)}")
    ranges = {key: Range(*bounds) for key, bounds in parameters.items()}
    rows = {
        table: tuple(row if isinstance(row, tuple) else (row,) for row in values)
        for table, values in tables.items()
    }

    def enter(kernel: Kernel) -> Kernel:
        CORRUPTIONS[name] = Corruption(kernel, family, ranges, rows, reference, elements)
        return kernel

    return enter


def names() -> tuple[str, ...]:
    """All names: the benchmark's in its order, then others by the alphabet."""
    return tuple(n for n in BENCHMARK if n in CORRUPTIONS) + tuple(sorted(CORRUPTIONS.keys() - {*BENCHMARK}))


def families() -> dict[str, tuple[str, ...]]:
    """The names of each family."""
    return {f: tuple(n for n in names() if CORRUPTIONS[n].family == f) for f in get_args(Family)}


def find(name: str) -> Corruption:
    """Return the corruption of that name. Raises UsageError naming near ones."""
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    return CORRUPTIONS[name]


def check(corruption: str, numbers: object) -> tuple[float, ...]:
    """Return user-given parameters as floats. Raises UsageError saying what the corruption takes."""
    ranges = find(corruption).parameters
    if isinstance(numbers, int | float):
        numbers = (numbers,)
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) != len(ranges):
        raise UsageError(
            f"parameters of {corruption}: got {numbers!r}, need {len(ranges)} number(s): {', '.join(ranges)}"
        )
    for (name, (low, high, is_whole)), value in zip(ranges.items(), numbers, strict=True):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:  # a NaN compares false and is refused here
            raise UsageError(f"parameters of {corruption}: {name} is {value!r}, need {low:g} to {high:g}")
        if is_whole and value != int(value):
            raise UsageError(f"parameters of {corruption}: {name} is {value!r}, need a whole number")
    return tuple(float(value) for value in numbers)


def parameters(
    table: str,
    corruption: str,
    severity: float,
    overrides: Mapping[str, Mapping[float, object]] | None = None,
) -> tuple[float, ...]:
    """Return the numbers of one condition: `overrides[corruption][severity]`, else those of the table.

    Raises UsageError for an unknown table or corruption, for a table without the corruption, for a
    severity that neither of the two has, and for numbers the corruption cannot take.
    """
    if table not in TABLES:
        raise unknown("parameter table", table, TABLES)
    known = find(corruption).tables
    own = (overrides or {}).get(corruption, {})
    if severity in own:
        return check(corruption, own[severity])
    if table not in known:
        others = f"name table {' or '.join(known)} in the preset, or " if known else ""
        raise UsageError(
            f"table '{table}' has no numbers for {corruption}: {others}give it its own under 'parameters'"
        )
    rows = known[table]
    if severity not in range(1, len(rows) + 1):
        raise UsageError(
            f"severity {severity} of {corruption}: table '{table}' has 1 to {len(rows)}; "
            "others need their own parameters in a preset"
        )
    return rows[int(severity) - 1]
