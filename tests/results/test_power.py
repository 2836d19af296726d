"""Power: the smallest loss that is found is found 4 times in 5, and images needed are its inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from lnbench.errors import UsageError
from lnbench.results.compare import compare
from lnbench.results.draws import answering, p_value, share_sums, standard_error
from lnbench.results.power import Churn, churn
from lnbench.results.rules import parse_loss
from lnbench.results.significance import mcnemar, sign_flip
from lnbench.results.tables import basis
from tests.results.golden import sample


@pytest.mark.parametrize(("discordant", "loss"), [(0.1, 0.02), (0.4, 0.05), (0.3, 0.3)])
def test_images_needed_are_connors_for_a_single_condition(discordant: float, loss: float) -> None:
    """Connor 1987: n = (zα √d + zβ √(d − δ²))² / δ², d discordant under the loss; and one."""
    found = Churn(100, discordant - loss, 1.0).needed(loss, 0.05)
    alpha, beta = norm.ppf(0.975), norm.ppf(0.8)
    expected = ((alpha * math.sqrt(discordant) + beta * math.sqrt(discordant - loss**2)) / loss) ** 2
    assert found == pytest.approx(expected + 1 / loss, rel=1e-9)


def differences(
    random: np.random.Generator, images: int, churned: float, loss: float, conditions: int
) -> np.ndarray:
    """Paired differences of a mean over conditions: the same share of images gained as lost, and a loss."""
    u = random.uniform(size=(images, conditions))
    change = np.where(u < churned / 2, 1.0, np.where(u < churned + loss, -1.0, 0.0))
    return change.mean(axis=1)


@pytest.mark.parametrize(("conditions", "images", "churned"), [(1, 400, 0.1), (1, 846, 0.02), (4, 300, 0.1)])
def test_the_smallest_loss_is_found_4_times_in_5(conditions: int, images: int, churned: float) -> None:
    random = np.random.default_rng(0)
    same = [churn(differences(random, images, churned, 0, conditions)).smallest(0.05) for _ in range(50)]
    loss, found = float(np.mean(same)), 0
    for _ in range(200):
        x = differences(random, images, churned, loss, conditions)
        p = mcnemar(int((x < 0).sum()), int((x > 0).sum())) if conditions == 1 else sign_flip(x)
        found += p < 0.05
    assert 0.72 < found / 200 < 0.95  # one standard error is 0.03


def test_with_draws_the_smallest_loss_is_found_where_draws_differ() -> None:
    random, found = np.random.default_rng(1), 0

    def drawn(loss: float) -> np.ndarray:
        moved = random.normal(0, 0.05, 16)[answering(800, 16)]
        u = random.uniform(size=800)
        return np.where(u < 0.15 + moved / 2, 1.0, np.where(u < 0.3 + loss, -1.0, 0.0))

    losses = [churn(drawn(0.0), 16).smallest(0.05) for _ in range(80)]
    loss = float(np.mean(losses))
    assert loss > churn(drawn(0.0)).smallest(0.05)
    for _ in range(200):
        x = drawn(loss)
        found += p_value(float(x.mean()), standard_error(share_sums(x, 16), 800), 16) < 0.05
    assert 0.65 < found / 200 < 0.95
    assert Churn(800, 0.3, 1.0, 16, 0.02).needed(0.01, 0.05) == math.inf


def test_images_needed_for_the_smallest_loss_are_those_at_hand() -> None:
    one = churn(differences(np.random.default_rng(2), 500, 0.2, 0.03, 5))
    for level in (0.05, 0.001):
        assert one.needed(one.smallest(level), level) == pytest.approx(500, rel=1e-6)
    assert one.needed(0.01, 0.05) > one.needed(0.02, 0.05)


def test_the_loss_itself_is_no_churn() -> None:
    """What an image loses in every condition is a loss, however large; what it gains elsewhere is churn."""
    lost = np.zeros(100)
    lost[:10] = -1
    assert churn(lost).moment == pytest.approx(0.03)  # one standard error
    assert churn(np.zeros(100)) == Churn(100, 0.0, 1.0)
    lost[90:] = 1
    assert churn(lost).moment == pytest.approx(0.2)


def test_a_comparison_says_what_it_would_have_found() -> None:
    (old, bits), (new, new_bits) = sample(), sample(loss=0.12)
    found = compare(old, new, bits, new_bits)
    (line,) = [line for line in basis(found) if "4 times in 5" in line]
    first = found.headlines[0]
    assert first.level == pytest.approx(0.05 / 6) and first.detectable is not None
    assert f"fixed clean {100 * first.detectable:.2f}, mean " in line and line.count(";") == 2


@pytest.mark.parametrize("text", ["0.5", "0.5%", "+1pp", "0pp", "101pp", "", "pp", "--1pp", "nan", "1pp 2pp"])
def test_a_loss_is_given_in_points(text: str) -> None:
    with pytest.raises(UsageError, match=r"--power '.*': give a loss of accuracy in points, such as"):
        parse_loss(text)
    assert parse_loss("0.5pp") == parse_loss(" -0.5pp") == parse_loss("0.5 pp") == 0.005
