"""An exact test of two models whose neurons were drawn at random and rated by the same raters.

Under the null hypothesis a neuron's model is only a name: every choice of which of the neurons are the first
model's is equally likely, while each neuron keeps all its verdicts (Fisher, The Design of Experiments, 1935,
section 21; Pitman, 1937). The distribution of the summed scores is computed whole, by counting how many
choices give which sum (Pagano and Tritchler, Journal of the American Statistical Association 78, 1983): no
sampling.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, fisher_exact

MAX_DENOMINATOR = 60
"""Scores that are no multiples of a sixtieth are rounded to one, which leaves the test exact: any number
that was fixed before models were named may be summed."""

Floats = npt.NDArray[np.float64]


def exact_test(first: Sequence[Fraction], second: Sequence[Fraction]) -> float:
    """The two-sided p-value: how likely a sum as far from its mean as the first model's is, or farther.

    Args:
        first: scores of one model's neurons, 0 to 1. second: of the other's.

    Returns:
        NaN where a model has none.
    """
    if not first or not second:
        return math.nan
    denominator = math.lcm(*(score.denominator for score in (*first, *second)))
    grid = denominator if denominator <= MAX_DENOMINATOR else MAX_DENOMINATOR
    a, b = ([round(score * grid) for score in of] for of in (first, second))
    lowest = min(*a, *b)
    a, b = [value - lowest for value in a], [value - lowest for value in b]
    chances = sum_distribution(Counter(a + b), len(a))
    n, total = len(a) + len(b), sum(a) + sum(b)
    apart = np.abs(np.arange(len(chances)) * n - len(a) * total)
    return min(1.0, float(chances[apart >= abs(sum(a) * n - len(a) * total)].sum()))


def sum_distribution(values: Counter[int], n_chosen: int) -> Floats:
    """`[sum]` the probability of each sum of a choice of `n_chosen`, all choices equally likely.

    Values are taken in turn. Were each drawn with probability q, independently, then given how many were
    drawn every choice is equally likely, and no number is too large for a float.

    Args:
        values: how often each occurs; whole numbers from 0, the least of them 0.
        n_chosen: at least 0, at most all.
    """
    n, q = values.total(), n_chosen / values.total()
    ordered = sorted(values.items())
    table = np.zeros((n_chosen + 1, 1))
    table[0, 0] = 1.0
    for value, count in ordered[:-1]:
        table = _with(table, value, count, q)
    value, count = ordered[-1]  # of the last only what completes the choice
    done = np.zeros(table.shape[1] + value * min(count, n_chosen))
    for k in range(max(0, n_chosen - (n - count)), min(count, n_chosen) + 1):
        done[value * k : value * k + table.shape[1]] += binom.pmf(k, count, q) * table[n_chosen - k]
    return np.asarray(done / done.sum())


def _with(table: Floats, value: int, count: int, q: float) -> Floats:
    """`[drawn, sum]` after some of `count` equal values were drawn as well."""
    rows, width = table.shape
    most = min(count, rows - 1)
    found = np.zeros((rows, width + value * most))
    for k, chance in enumerate(binom.pmf(np.arange(most + 1), count, q)):
        found[k:, value * k : value * k + width] += chance * table[: rows - k]
    return found


def fisher_test(first: Sequence[bool], second: Sequence[bool]) -> float:
    """The two-sided p-value of Fisher's exact test for one rater's verdicts; NaN where a model has none."""
    if not first or not second:
        return math.nan
    table = [[sum(of), len(of) - sum(of)] for of in (first, second)]
    return float(fisher_exact(table).pvalue)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, raised so that all hold together; NaN stays and counts as no test
    (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    told = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    found, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(told):
        highest = max(highest, min(1.0, p * (len(told) - rank)))
        found[i] = highest
    return found
