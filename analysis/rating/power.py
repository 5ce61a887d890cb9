"""Number of neurons that a study needs, from the power of the exact test itself.

For the verdicts of one rater, or of a majority: with n neurons of each model, the number of interpretable
ones is binomial. The test is `exact_test`, which for such verdicts and equal numbers is Fisher's exact test.
Its power is summed over all outcomes, and not simulated or approximated.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import binom, norm

MAX_NEURONS = 2_000
"""Largest number of neurons of each model that is tried."""

_N_STABLE = 10
"""Number of larger studies that must reach the power as well: power rises in a sawtooth, since the test is
discrete."""


@lru_cache(maxsize=4096)
def exact_power(n: int, p1: float, p2: float, alpha: float = 0.05) -> float:
    """Return the probability that the two-sided exact test finds a difference.

    Args:
        n: neurons of each model, at least 1.
        p1: share of interpretable neurons in one model, 0 to 1.
        p2: share in the other.
        alpha: largest p-value that counts as a difference.
    """
    # x is the first model's count; given the total of both, it is hypergeometric under the null hypothesis.
    x, total = np.arange(n + 1), np.arange(2 * n + 1)[:, None]
    choices, choices_of_all = _log_choices(n), _log_choices(2 * n)[:, None]
    other = total - x
    inside = (other >= 0) & (other <= n)
    given = np.where(inside, np.exp(choices + choices[other.clip(0, n)] - choices_of_all), 0.0)
    tails = np.cumsum(given[:, ::-1], axis=1)[:, ::-1]
    # [total, x]: is the two-sided p-value at most alpha? Both tails are alike, since the models have equal n.
    # The factor keeps p-values that equal alpha but for rounding.
    is_significant = 2 * tails <= alpha * (1 + 1e-9)
    least = np.where(is_significant.any(axis=1), is_significant.argmax(axis=1), n + 1)
    critical = 2 * least - total[:, 0]  # twice the distance of x from its mean, total / 2
    first, second = binom.pmf(x, n, p1), binom.pmf(x, n, p2)
    rejects = np.abs(x[:, None] - x) >= critical[x[:, None] + x]
    return min(1.0, float(first @ rejects @ second))


def neurons_needed(p1: float, p2: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Return the smallest number of neurons of each model that reaches a power, also with a few neurons more.

    Args:
        p1: share of interpretable neurons in one model, 0 to 1.
        p2: share in the other.
        power: probability of finding the difference, between 0 and 1.
        alpha: largest p-value that counts as a difference.

    Returns:
        None if it is more than `MAX_NEURONS`, or the shares are equal.

    Raises:
        ValueError: a share, the power or alpha is outside its range.
    """
    if not (0 <= p1 <= 1 and 0 <= p2 <= 1 and 0 < power < 1 and 0 < alpha < 1):
        raise ValueError(
            f"expected shares from 0 to 1 and power and alpha between 0 and 1, found {p1}, {p2}, {power} "
            f"and {alpha}: write shares as fractions, such as 0.35"
        )
    if p1 == p2:
        return None
    # The approximation is somewhat too small already: starting a tenth below it misses nothing.
    n, stays = max(2, int(0.9 * approximate_n(p1, p2, power, alpha))), 0
    while n + 1 - stays <= MAX_NEURONS:
        stays = stays + 1 if exact_power(n, p1, p2, alpha) >= power else 0
        if stays > _N_STABLE:
            return n - _N_STABLE
        n += 1
    return None


def approximate_n(p1: float, p2: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the number by the normal approximation, somewhat too small.

    Fleiss, Statistical Methods for Rates and Proportions, 1981, section 3.2, without continuity correction.
    """
    mean = (p1 + p2) / 2
    z_alpha, z_power = norm.ppf(1 - alpha / 2), norm.ppf(power)
    spread = z_alpha * math.sqrt(2 * mean * (1 - mean)) + z_power * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return float(spread / (p1 - p2)) ** 2


def _log_choices(n: int) -> npt.NDArray[np.float64]:
    """Return the logarithms `[n + 1]` of the binomial coefficients of n."""
    k = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
