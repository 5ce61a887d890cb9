"""Share of neurons called interpretable, with its interval.

The unit is the neuron: neurons were drawn at random, raters were not. A neuron's score is the share of its
raters who called it interpretable. Ratings of the same neuron are not independent, so the interval of a mean
score is Wilson's with the effective sample size: the number of independent verdicts whose share would vary as
much (Korn and Graubard, Survey Methodology 24, 1998; with Wilson's interval Franco, Little, Louis and Slud,
Journal of Survey Statistics and Methodology 7, 2019). With one rater it is the number of neurons. The
interval holds for other neurons rated by the same raters, not for other raters.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from analysis.intervals import UNKNOWN, Estimate, wilson
from analysis.rating.ratings import UnblindedRating


def score_neurons(ratings: Iterable[UnblindedRating]) -> dict[str, Fraction]:
    """Return by item the share of its raters who called it interpretable, without repeats and checks."""
    votes: dict[str, list[bool]] = {}
    for rating in ratings:
        if rating.kind == "neuron":
            votes.setdefault(rating.item, []).append(rating.is_interpretable)
    return {item: Fraction(sum(verdicts), len(verdicts)) for item, verdicts in votes.items()}


def group_by_side(
    ratings: Iterable[UnblindedRating], sides: Sequence[str]
) -> dict[str, list[UnblindedRating]]:
    """Group the ratings of neurons by side, in the order of `sides`, without repeats and checks."""
    groups: dict[str, list[UnblindedRating]] = {side: [] for side in sides}
    for rating in ratings:
        if rating.kind == "neuron":
            groups[rating.side].append(rating)
    return groups


def mean_share(scores: Mapping[str, Fraction], n_ratings: int) -> Estimate:
    """Return the mean score with its 95% interval.

    Args:
        scores: by item, of neurons drawn independently.
        n_ratings: number of ratings that the scores are made of, which the effective sample size cannot
        exceed.
    """
    values = np.array([float(score) for score in scores.values()])
    if not len(values):
        return UNKNOWN
    mean = float(values.mean())
    variance = float(values.var())
    # Variance of single verdicts over variance of scores: 1 if the raters of each neuron agree, more if not.
    ratio = mean * (1 - mean) / variance if variance else float("inf")
    n_effective = len(values) if mean in (0.0, 1.0) else min(len(values) * ratio, n_ratings)
    return wilson(mean * n_effective, n_effective)


def majority_share(scores: Mapping[str, Fraction]) -> Estimate:
    """Return the share of neurons that more than half of their raters call interpretable, by Wilson."""
    return wilson(sum(score > Fraction(1, 2) for score in scores.values()), len(scores))
