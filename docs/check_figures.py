"""Make a sample of the documented figures again, read others from their files, look for all on their pages.

    python docs/check_figures.py

Half a minute, nothing downloaded. docs/figures.md has the commands of all figures.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for benchmarks and tests, where this file is run as a script

from benchmarks import compare_rate, parity_report  # noqa: E402
from benchmarks.parity_data import pictures  # noqa: E402
from docs import kept_figures  # noqa: E402
from lnbench.corruptions import registry  # noqa: E402
from lnbench.corruptions.rng import normal_quantiles  # noqa: E402
from tests.oracle import blur, weather  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
Figures = list[str]
CHECKS: dict[str, tuple[str, Callable[[], Figures]]] = {}
DRAWS = 60  # comparisons made again


def check(page: str) -> Callable[[Callable[[], Figures]], Callable[[], Figures]]:
    """Register the decorated function: texts that must stand on a page, blanks and line ends being alike."""

    def enter(function: Callable[[], Figures]) -> Callable[[], Figures]:
        CHECKS[function.__name__] = page, function
        return function

    return enter


@check("docs/corruptions.md")
def largest_normal_level() -> Figures:
    return [f"none beyond ±{float(normal_quantiles().max()):.3f}"]


@check("docs/corruptions.md")
def imagemagick_truncating() -> Figures:
    """How much darker motion blur is where its sums are truncated instead of rounded."""
    images, angles = pictures(224, 4, None), (-30.0, -10.0, 10.0, 30.0)
    lost = []
    for severity in range(1, 6):
        radius, sigma = registry.parameters("imagenet", "motion_blur", severity)
        sums = [
            blur.motion_filter(image.astype(float), radius, sigma, angle)
            for image, angle in zip(images, angles, strict=True)
        ]
        lost.append(float(np.mean([np.floor(x + 0.5) - np.floor(x + 1e-9) for x in sums])))
    return [f"motion blur comes out {min(lost):.2f} to {max(lost):.2f} levels darker"]


@check("docs/corruptions.md")
def imagemagick_truncating_in_snow() -> Figures:
    """The same of snow, of every table."""
    lost = []
    for table, side in parity_report.SIDES.items():
        images, random = pictures(side, 4, None), np.random.default_rng(0)
        for severity in range(1, 6):
            given = registry.parameters(table, "snow", severity)
            sums = []
            for image, angle in zip(images, (-120.0, -100.0, -80.0, -60.0), strict=True):
                field = random.standard_normal(image.shape[:2])
                rounded = weather.snow(image, given, field, angle).astype(float)
                with mock.patch.object(weather, "motion_blur", _truncated):
                    sums.append(rounded - weather.snow(image, given, field, angle))
            lost.append(float(np.mean(sums)))
    return [f"snow, of which only the flakes are blurred, {min(lost):.2f} to {max(lost):.2f}"]


def _truncated(*given: Any) -> np.ndarray:
    return np.floor(weather.motion_sums(*given) + 1e-9).astype(np.uint8)


@check("docs/modes.md")
def unbiased_variance() -> Figures:
    many, one = (m / (m - 1) - 1 for m in (32 * 49, 49))
    return [f"on 7×7 maps the two differ by {100 * many:.2f} %", f"maps by {100 * one:.0f} %"]


@check("docs/ci.md")
def lines_of_a_baseline() -> Figures:
    lines = (ROOT / "tests/baselines/demo.json").read_text().splitlines()
    lengths = []
    for line in lines:
        if match := re.search(r'"images": ?(\d+).*"correct": ?"', line):
            lengths.append(len(line) - math.ceil(math.ceil(int(match[1]) / 8) / 3) * 4)
    low, high = math.floor(min(lengths) / 10) * 10, math.ceil(max(lengths) / 10) * 10
    return [f"a line has {low} to {high} characters, and one more for every six images"]


@check("docs/ci.md")
def losses_that_show() -> Figures:
    """The table of compare_rate.md in percent, for one point; and one of its shares made again."""
    text = (RESULTS / "compare_rate.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| ([a-z -]+) \| (\d+) \| \d+% \| (\d+)% \| \d+% \|", text)
    shares: dict[str, list[str]] = {}
    for name, _, share in rows:
        shares.setdefault(name, []).append(f"{share} %")
    spread, told = compare_rate.ALIKE["fine-tuned copy"], float(rows[1][2]) / 100
    caught = compare_rate.failures(846, spread, 0.01, DRAWS) / DRAWS
    error = math.sqrt(told * (1 - told) / DRAWS)
    if abs(caught - told) > 4 * error:
        raise SystemExit(f"compare_rate.md: {told:.0%} of losses of a point caught, made again {caught:.0%}")
    return [" | ".join(values) for values in shares.values()]


for _page, _functions in kept_figures.PAGES.items():
    for _function in _functions:
        check(_page)(_function)


def plain(text: str) -> str:
    """A text with single blanks, for lines may break anywhere."""
    return " ".join(text.split())


def missing(name: str) -> Figures:
    """The texts of a check that are not on its page."""
    page, function = CHECKS[name]
    text = plain((ROOT / page).read_text(encoding="utf-8"))
    return [figure for figure in function() if plain(figure) not in text]


def main() -> None:
    wrong = 0
    for name, (page, _) in CHECKS.items():
        lacking = missing(name)
        print(f"{page}: {name.replace('_', ' ')}: {'as written' if not lacking else 'NOT as written'}")
        for figure in lacking:
            print(f"  not there: {figure}")
        wrong += len(lacking)
    if wrong:
        raise SystemExit(f"{wrong} figures are not on their pages")


if __name__ == "__main__":
    main()
