"""The fraction of neurons called interpretable. The neuron is the unit: it was drawn, and all raters saw it.

A neuron's score is the share of its raters who called it interpretable. Raters who see the same neuron are no
independent samples, so the interval of a mean score is Wilson's with as many neurons as would vary as much
(the effective sample size of Korn and Graubard, Survey Methodology 24, 1998; for Wilson's interval Franco,
Little, Louis and Slud, Journal of Survey Statistics and Methodology 7, 2019). With one rater it is Wilson's.
It speaks of other neurons and the same raters.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from analysis.intervals import UNKNOWN, Estimate, wilson
from analysis.rating.ratings import UnblindedRating


def score_neurons(ratings: Iterable[UnblindedRating]) -> dict[str, Fraction]:
    """By item, the share of its raters who called it interpretable; neurons alone, not their repeats."""
    votes: dict[str, list[bool]] = {}
    for rating in ratings:
        if rating.kind == "neuron":
            votes.setdefault(rating.item, []).append(rating.positive)
    return {item: Fraction(sum(of), len(of)) for item, of in votes.items()}


def group_by_side(
    ratings: Iterable[UnblindedRating], sides: Sequence[str]
) -> dict[str, list[UnblindedRating]]:
    """The ratings of neurons, a list each side, in the order of `sides`."""
    found: dict[str, list[UnblindedRating]] = {side: [] for side in sides}
    for rating in ratings:
        if rating.kind == "neuron":
            found[rating.side].append(rating)
    return found


def mean_share(found: Mapping[str, Fraction], n_ratings: int) -> Estimate:
    """The mean score with its 95% interval.

    Args:
        found: scores of neurons drawn independently.
        n_ratings: behind them: no sample is worth more than as many independent neurons.
    """
    values = np.array([float(score) for score in found.values()])
    if not len(values):
        return UNKNOWN
    mean = float(values.mean())
    spread = float(values.var())
    alike = mean * (1 - mean) / spread if spread else float("inf")  # 1: each neuron's raters agree
    worth = len(values) if mean in (0.0, 1.0) else min(len(values) * alike, n_ratings)
    return wilson(mean * worth, worth)


def majority_share(found: Mapping[str, Fraction]) -> Estimate:
    """The share of neurons that more than half of their raters call interpretable, with Wilson's interval."""
    return wilson(sum(score > Fraction(1, 2) for score in found.values()), len(found))
