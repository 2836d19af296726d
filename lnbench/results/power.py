"""What a comparison could have found: the smallest loss on these images, the images that a loss takes.

The paired tests look at images that changed. What decides is how much two runs differ *besides* the loss:
images that one gains and the other loses. A loss δ of a figure adds losses to that, each as large as a
changed image's usual change a (1 for a single condition, where this is the sample size of McNemar's test:
Miettinen, Biometrics 24, 1968; Connor, Biometrics 43, 1987):

    second moment of an image's difference  m(δ) = m + a·δ
    δ · √N  =  z(α) · √m(δ)  +  z(β) · √(m(δ) − δ²)

where m is what is left of the observed second moment when the observed loss, as far as it is more than one
standard error, is taken out in the same way; and one changed image more, since the tests count whole ones. A
loss that also takes away what would have been gained is found more often than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from lnbench.results.draws import quantile, share_sums, standard_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER = 0.8  # of finding a loss that is there
MOST = 10**9  # images; more than that is no answer


@dataclass(frozen=True)
class Churn:
    """How two runs differ image by image, whatever the loss between them.

    `moment`: second moment of an image's difference without the loss; `step`: change of a changed image;
    `draw_error`: standard error that more images would not make smaller, from `draws` draws of a mode.
    """

    images: int
    moment: float
    step: float
    draws: int = 1
    draw_error: float = 0.0

    def smallest(self, level: float) -> float:
        """The loss that is found with 80 % power at this level of a two-sided test; 1 at most."""
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.needed(middle, level) <= self.images else (middle, high)
        return high

    def needed(self, loss: float, level: float) -> float:
        """How many images find this loss with 80 % power; infinite where only more draws would."""
        moment = self.moment + self.step * loss
        variance = max(0.0, moment - loss * loss)
        normal = NormalDist()
        strict, wanted = normal.inv_cdf(1 - level / 2), normal.inv_cdf(POWER)
        images = ((strict * math.sqrt(moment) + wanted * math.sqrt(variance)) / loss) ** 2
        images += self.step / loss
        if self.draws > 1:
            reach = quantile(self.draws - 1, 1 - level) + quantile(self.draws - 1, 2 * POWER - 1)
            room = (loss / reach) ** 2 - self.draw_error**2
            images = max(images, variance / room if room > 0 else math.inf)
        return images if images < MOST else math.inf


def churn(differences: NDArray[np.float64], draws: int = 1) -> Churn:
    """Of paired differences (N,), one for each image."""
    count, mean = len(differences), float(differences.mean())
    moment, size = float((differences**2).mean()), float(abs(differences).mean())
    step = moment / size if size else 1.0
    apart = 0.0
    if draws > 1:
        error = standard_error(share_sums(differences, draws), count)
        apart = math.sqrt(max(0.0, error**2 - (moment - mean * mean) / count))
    loss = max(0.0, abs(mean) - math.sqrt((moment - mean * mean) / count))
    return Churn(count, max(0.0, moment - step * loss), step, draws, apart)
