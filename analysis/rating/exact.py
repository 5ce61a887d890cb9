"""Exact tests of two models whose neurons were drawn at random and rated by the same raters.

The permutation test: under the null hypothesis a neuron's model is only a name, so that every choice of which
neurons are the first model's is equally likely, while each neuron keeps all its verdicts (Fisher, The Design
of Experiments, 1935, section 21; Pitman, Supplement to the Journal of the Royal Statistical Society 4, 1937).
The distribution of the sum of scores is computed in full, by counting the choices that give each sum (Pagano
and Tritchler, Journal of the American Statistical Association 78, 1983), and not sampled.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, fisher_exact

MAX_DENOMINATOR = 60
"""Largest common denominator of scores. Scores with another one are rounded to a sixtieth, a number with many
divisors. The test stays exact: it holds for any score that was fixed before the models were named."""

Floats = npt.NDArray[np.float64]


def exact_test(first: Sequence[Fraction], second: Sequence[Fraction]) -> float:
    """Return the two-sided p-value: the probability of a sum at least as far from its mean as the observed.

    Args:
        first: scores of one model's neurons, 0 to 1.
        second: scores of the other's.

    Returns:
        NaN if a model has no scores.
    """
    if not first or not second:
        return math.nan
    denominator = math.lcm(*(score.denominator for score in (*first, *second)))
    grid = denominator if denominator <= MAX_DENOMINATOR else MAX_DENOMINATOR
    a, b = ([round(score * grid) for score in scores] for scores in (first, second))
    lowest = min(*a, *b)  # sums of smaller numbers need a smaller table
    a, b = [value - lowest for value in a], [value - lowest for value in b]
    probabilities = sum_distribution(Counter(a + b), len(a))
    n, total = len(a) + len(b), sum(a) + sum(b)
    # Distances from the mean times n, so that they stay whole numbers and ties are exact.
    distances = np.abs(np.arange(len(probabilities)) * n - len(a) * total)
    return min(1.0, float(probabilities[distances >= abs(sum(a) * n - len(a) * total)].sum()))


def sum_distribution(values: Counter[int], n_chosen: int) -> Floats:
    """Return the probability `[sum + 1]` of each sum of `n_chosen` values, all choices equally likely.

    Numbers of choices overflow a float, probabilities do not. If every value were drawn independently with
    probability q = n_chosen / n, then, given the number drawn, all choices would be equally likely. So the
    table of (number drawn, sum) is built value by value from binomial probabilities, and its row `n_chosen`
    normalized.

    Args:
        values: number of times that each value occurs; values are whole numbers, the smallest 0.
        n_chosen: 0 up to the number of values.
    """
    n, q = values.total(), n_chosen / values.total()
    ordered = sorted(values.items())
    table = np.zeros((n_chosen + 1, 1))
    table[0, 0] = 1.0
    for value, count in ordered[:-1]:
        table = _add_value(table, value, count, q)
    value, count = ordered[-1]  # of the last value only the row n_chosen is needed: most of the time saved
    row = np.zeros(table.shape[1] + value * min(count, n_chosen))
    for k in range(max(0, n_chosen - (n - count)), min(count, n_chosen) + 1):
        row[value * k : value * k + table.shape[1]] += binom.pmf(k, count, q) * table[n_chosen - k]
    return np.asarray(row / row.sum())


def _add_value(table: Floats, value: int, count: int, q: float) -> Floats:
    """Extend the table `[drawn, sum]` by `count` equal values, each drawn with probability q."""
    rows, width = table.shape
    most = min(count, rows - 1)
    extended = np.zeros((rows, width + value * most))
    for k, probability in enumerate(binom.pmf(np.arange(most + 1), count, q)):
        extended[k:, value * k : value * k + width] += probability * table[: rows - k]
    return extended


def fisher_test(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return the two-sided p-value of Fisher's exact test of verdicts; NaN if a model has none."""
    if not first or not second:
        return math.nan
    table = [[sum(verdicts), len(verdicts) - sum(verdicts)] for verdicts in (first, second)]
    return float(fisher_exact(table).pvalue)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method; NaN stays NaN and does not count as a test.

    Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    ordered = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(ordered):
        highest = max(highest, min(1.0, p * (len(ordered) - rank)))
        adjusted[i] = highest
    return adjusted
