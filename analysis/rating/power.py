"""How many neurons a study needs. Power is that of the exact test itself, summed over all outcomes.

One rater's verdicts, or a majority's: with n neurons a model, a model's count of interpretable ones is
binomial. The test is `exact_test`, which for verdicts of one rater and equal numbers is Fisher's.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import binom, norm

MAX_NEURONS = 2_000
"""Neurons a model that are looked for at most."""

_STAYS = 10
"""Power goes up in a saw's teeth: so many larger numbers have to do as well."""


@lru_cache(maxsize=4096)
def exact_power(n: int, p1: float, p2: float, alpha: float = 0.05) -> float:
    """The probability that the two-sided exact test finds a difference.

    Args:
        n: neurons a model, at least 1. p1: fraction interpretable of one model, 0 to 1. p2: of the other.
        alpha: the p-value from which on a difference counts as found.
    """
    x, total = np.arange(n + 1), np.arange(2 * n + 1)[:, None]
    choices, of_both = _log_choices(n), _log_choices(2 * n)[:, None]
    other = total - x
    inside = (other >= 0) & (other <= n)
    given = np.where(inside, np.exp(choices + choices[other.clip(0, n)] - of_both), 0.0)  # hypergeometric
    tails = np.cumsum(given[:, ::-1], axis=1)[:, ::-1]
    both = 2 * tails <= alpha * (1 + 1e-9)  # [total, first's count] given the total, as many or more
    least = np.where(both.any(axis=1), both.argmax(axis=1), n + 1)
    critical = 2 * least - total[:, 0]  # distance from the mean, either way, in halves
    first, second = binom.pmf(x, n, p1), binom.pmf(x, n, p2)
    rejects = np.abs(x[:, None] - x) >= critical[x[:, None] + x]
    return min(1.0, float(first @ rejects @ second))


def neurons_needed(p1: float, p2: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """The fewest neurons a model with which the power is reached, and stays reached with a few more.

    Returns:
        None: more than 2,000, or the fractions are the same.

    Raises:
        ValueError: a fraction, the power or alpha lies outside of its range.
    """
    if not (0 <= p1 <= 1 and 0 <= p2 <= 1 and 0 < power < 1 and 0 < alpha < 1):
        raise ValueError(
            f"expected fractions from 0 to 1 and power and alpha between 0 and 1, found {p1}, {p2}, {power} "
            f"and {alpha}: write shares, as 0.35"
        )
    if p1 == p2:
        return None
    n, stays = max(2, int(0.9 * approximate_n(p1, p2, power, alpha))), 0
    while n + 1 - stays <= MAX_NEURONS:
        stays = stays + 1 if exact_power(n, p1, p2, alpha) >= power else 0
        if stays > _STAYS:
            return n - _STAYS
        n += 1
    return None


def approximate_n(p1: float, p2: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The normal formula without correction: somewhat too few (Fleiss, Statistical Methods for Rates and
    Proportions, 1981, section 3.2)."""
    mean = (p1 + p2) / 2
    z_alpha, z_power = norm.ppf(1 - alpha / 2), norm.ppf(power)
    spread = z_alpha * math.sqrt(2 * mean * (1 - mean)) + z_power * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return float(spread / (p1 - p2)) ** 2


def _log_choices(n: int) -> npt.NDArray[np.float64]:
    """`[n + 1]` logarithms of how many choices of 0, 1, .. of n there are."""
    k = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
