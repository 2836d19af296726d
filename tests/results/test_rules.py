"""The grammar of --fail-if."""

from __future__ import annotations

import pytest

from lnbench.errors import UsageError
from lnbench.results.rules import figures, parse
from lnbench.types import CLEAN, Condition

FOG = Condition("fog", 3)


@pytest.mark.parametrize(
    "text, scope, figure, limit, relative",
    [
        ("top1:-0.5pp", "", "top1", 0.005, False),
        ("mean_corruption_top1:-0.3pp", "", "mean_corruption_top1", 0.003, False),
        ("mce:+1%", "", "mce", 0.01, True),
        ("mce: +1 pp", "", "mce", 0.01, False),
        ("fixed/gaussian_noise/*: top1:-1pp", "fixed/gaussian_noise/*", "top1", 0.01, False),
        ("adapt:n=32/fog/3:top1:-1pp", "adapt:n=32/fog/3", "top1", 0.01, False),
        ("blend:N=16,scope=batch:clean_top1:-.25pp", "blend:N=16,scope=batch", "clean_top1", 0.0025, False),
        ("nll:+0.05", "", "nll", 0.05, False),
        ("fixed: nll:+5%", "fixed", "nll", 0.05, True),
        ("top1:-0pp", "", "top1", 0.0, False),
    ],
)
def test_what_rules_mean(text: str, scope: str, figure: str, limit: float, relative: bool) -> None:
    rule = parse(text)
    assert (rule.scope, rule.figure, rule.relative) == (scope, figure, relative)
    assert rule.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    "text, message",
    [
        ("top1", "write FIGURE:CHANGE, such as top1:-0.5pp"),
        ("", "write FIGURE:CHANGE"),
        ("tpo1:-1pp", "unknown figure in --fail-if 'tpo1': did you mean top1"),
        ("top1:-0.5", r"say pp \(points\) or %"),
        ("top1:0.5pp", "'0.5pp' is no change"),
        ("top1:+1pp", "top1 gets worse with -, write -1pp"),
        ("mce:-1%", r"mce gets worse with \+, write \+1%"),
        ("nll:+1pp", "nll is not a rate"),
        ("top1:-1e9pp", "is no change"),
        ("top1:-nanpp", "is no change"),
        ("a/b/c/d:top1:-1pp", "the scope of top1 is mode/corruption/severity"),
        ("fixed/fog:mce:+1%", "the scope of mce is mode, not 'fixed/fog'"),
        ("fixed//3:top1:-1pp", "the scope of top1"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "scope, covered",
    [
        ("", True),
        ("fixed", True),
        ("f*", True),
        ("batch", False),
        ("*/fog", True),
        ("*/fog/3", True),
        ("fixed/fog/4", False),
        ("*/*/*", True),
        ("fixed/snow/*", False),
    ],
)
def test_scopes(scope: str, covered: bool) -> None:
    assert parse(f"{scope}:top1:-1pp" if scope else "top1:-1pp").covers("fixed", FOG) is covered


def test_clean_is_a_cell_like_others() -> None:
    assert parse("fixed/clean: top1:-1pp").covers("fixed", CLEAN)
    assert not parse("fixed/fog/*: top1:-1pp").covers("fixed", CLEAN)


@pytest.mark.parametrize("figure", figures())
def test_every_figure_knows_its_bad_direction(figure: str) -> None:
    higher = figures()[figure] == "higher"
    sign = "-" if higher else "+"
    rule = parse(f"{figure}:{sign}10%")
    worse, better = (0.4, 0.6) if higher else (0.6, 0.4)
    assert rule.broken(0.5, worse) and not rule.broken(0.5, better) and not rule.broken(0.5, 0.5)
    assert rule.covers("fixed", FOG) is rule.about_cells
    assert rule.covers("fixed", None) is not rule.about_cells


def test_a_loss_of_exactly_the_limit_passes() -> None:
    assert not parse("top1:-0.5pp").broken(0.9, 0.895)
    assert parse("top1:-0.5pp").broken(0.9, 0.8949)
    assert not parse("mce:+1%").broken(0.7, 0.707)
    assert parse("mce:+1%").broken(0.0, 0.01)
