"""The parameters of every corruption at severities 1–5, and the check of parameters a user gives.

Numbers from hendrycks/robustness, ImageNet-C/create_c: make_imagenet_c.py (`imagenet`, 224 px),
make_tinyimagenet_c.py (`tiny-imagenet`, 64 px), make_cifar_c.py (`cifar`, 32 px); the paper is
Hendrycks & Dietterich, arXiv 1903.12261.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lnbench.errors import UsageError, unknown

MIN_SIDE = 32
"""Images must be at least this many pixels high and wide."""

GROUPS: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
"""The benchmark's families; `extra` is the hold-out set, never part of mCE."""

NAMES: tuple[str, ...] = tuple(name for group in GROUPS.values() for name in group)
"""The 15 of the benchmark in its order, then the 4 extra ones."""

_TINY = 1e-6

FIELDS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "gaussian_noise": (("scale", _TINY, 100),),
    "shot_noise": (("rate", 0.1, 1000),),
    "impulse_noise": (("amount", 0, 1),),
    "defocus_blur": (("radius", 0, 30), ("alias_blur", 0.01, 64)),
    "glass_blur": (("sigma", _TINY, 64), ("max_delta", 1, 15), ("iterations", 1, 32)),
    "motion_blur": (("radius", 1, 100), ("sigma", _TINY, 1000)),
    "zoom_blur": (("stop", 1 + _TINY, 4), ("step", 0.001, 3)),
    "snow": (
        ("mean", -10, 10),
        ("scale", 0, 10),
        ("zoom", 1, 16),
        ("threshold", -10, 10),
        ("radius", 1, 100),
        ("sigma", _TINY, 1000),
        ("mix", 0, 1),
    ),
    "frost": (("image_weight", 0, 10), ("frost_weight", 0, 10)),
    "fog": (("amount", 0, 100), ("decay", 1, 100)),
    "brightness": (("shift", -1, 1),),
    "contrast": (("factor", 0, 100),),
    "elastic_transform": (("alpha", 0, 10_000), ("sigma", 0, 1000), ("affine", 0, 1000)),
    "pixelate": (("fraction", 0.01, 1),),
    "jpeg_compression": (("quality", 1, 100),),
    "speckle_noise": (("scale", _TINY, 100),),
    "gaussian_blur": (("sigma", _TINY, 64),),
    "spatter": (
        ("mean", -10, 10),
        ("scale", 0, 10),
        ("sigma", _TINY, 64),
        ("threshold", -10, 10),
        ("intensity", 0, 100),
        ("mud", 0, 1),
    ),
    "saturate": (("factor", 0, 1000), ("shift", -1, 1)),
}
"""Name, lowest and highest value of each parameter, in the order of the tables."""

_WHOLE = {
    ("glass_blur", "max_delta"),
    ("glass_blur", "iterations"),
    ("motion_blur", "radius"),
    ("snow", "radius"),
    ("jpeg_compression", "quality"),
    ("spatter", "mud"),
}


def _single(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


def _elastic(side: int, *fractions: tuple[float, float, float]) -> tuple[tuple[float, ...], ...]:
    return tuple((side * alpha, side * sigma, side * affine) for alpha, sigma, affine in fractions)


TABLES: dict[str, dict[str, tuple[tuple[float, ...], ...]]] = {
    "imagenet": {
        "gaussian_noise": _single(0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": _single(60, 25, 12, 5, 3),
        "impulse_noise": _single(0.03, 0.06, 0.09, 0.17, 0.27),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),
        # The authors multiply by 244, a slip for 224 that the published sets carry.
        "elastic_transform": _elastic(
            244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
        ),
        "pixelate": _single(0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": _single(25, 18, 15, 10, 7),
        "speckle_noise": _single(0.15, 0.2, 0.35, 0.45, 0.6),
        "gaussian_blur": _single(1, 2, 3, 4, 6),
        "spatter": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    },
    "tiny-imagenet": {
        "gaussian_noise": _single(0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": _single(250, 100, 50, 30, 15),
        "impulse_noise": _single(0.01, 0.02, 0.05, 0.08, 0.14),
        "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),
        "elastic_transform": _elastic(
            64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)
        ),
        "pixelate": _single(0.9, 0.8, 0.7, 0.6, 0.5),
        "jpeg_compression": _single(65, 58, 50, 40, 25),
        "speckle_noise": _single(0.15, 0.2, 0.25, 0.3, 0.35),
        "gaussian_blur": _single(0.5, 0.75, 1, 1.25, 1.5),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    },
    "cifar": {
        "gaussian_noise": _single(0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": _single(500, 250, 100, 75, 50),
        "impulse_noise": _single(0.01, 0.02, 0.03, 0.05, 0.07),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "brightness": _single(0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": _single(0.75, 0.5, 0.4, 0.3, 0.15),
        "elastic_transform": _elastic(
            32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)
        ),
        "pixelate": _single(0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": _single(80, 65, 58, 50, 40),
        "speckle_noise": _single(0.06, 0.1, 0.12, 0.16, 0.2),
        "gaussian_blur": _single(0.4, 0.6, 0.7, 0.8, 1),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
}


def check(corruption: str, numbers: object) -> tuple[float, ...]:
    """Return user-given parameters as floats. Raises UsageError saying what the corruption takes."""
    if corruption not in FIELDS:
        raise unknown("corruption", corruption, NAMES)
    fields = FIELDS[corruption]
    wanted = ", ".join(name for name, _, _ in fields)
    if isinstance(numbers, int | float):
        numbers = (numbers,)
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) != len(fields):
        raise UsageError(
            f"parameters of {corruption}: got {numbers!r}, need {len(fields)} number(s): {wanted}"
        )
    for (name, low, high), value in zip(fields, numbers, strict=True):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:  # a NaN compares false and is refused here
            raise UsageError(f"parameters of {corruption}: {name} is {value!r}, need {low:g} to {high:g}")
        if (corruption, name) in _WHOLE and value != int(value):
            raise UsageError(f"parameters of {corruption}: {name} is {value!r}, need a whole number")
    return tuple(float(value) for value in numbers)


def parameters(
    table: str,
    corruption: str,
    severity: float,
    overrides: Mapping[str, Mapping[float, object]] | None = None,
) -> tuple[float, ...]:
    """Return the numbers of one condition: `overrides[corruption][severity]`, else those of the table.

    Raises UsageError for an unknown table or corruption, for a severity that neither of the two
    has, and for numbers the corruption cannot take.
    """
    if table not in TABLES:
        raise unknown("parameter table", table, TABLES)
    if corruption not in NAMES:
        raise unknown("corruption", corruption, NAMES)
    own = (overrides or {}).get(corruption, {})
    if severity in own:
        return check(corruption, own[severity])
    rows = TABLES[table][corruption]
    if severity not in range(1, len(rows) + 1):
        raise UsageError(
            f"severity {severity} of {corruption}: table '{table}' has 1 to {len(rows)}; "
            "others need their own parameters in a preset"
        )
    return rows[int(severity) - 1]
