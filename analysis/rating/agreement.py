"""Agreement of raters with each other, with themselves, and with known answers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
import numpy.typing as npt

from analysis.intervals import UNKNOWN, Estimate, wilson
from analysis.rating.ratings import UnblindedRating

N_RESAMPLES = 1_000
"""Bootstrap samples of the interval of Krippendorff's alpha."""


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement of two raters on the neurons that both rated."""

    first: str
    second: str
    n_both: int
    agree: float
    """Share of these neurons with the same verdict; NaN if there are none."""
    kappa: float
    """Cohen's kappa; NaN where undefined: no neuron in common, or the same single verdict throughout."""


@dataclass(frozen=True, slots=True)
class CountedShare:
    """Hits among n, as a share with Wilson's interval."""

    hits: int
    n: int
    share: Estimate


def count_share(hits: int, n: int) -> CountedShare:
    """Return hits among n as a share with Wilson's interval."""
    return CountedShare(hits, n, wilson(hits, n))


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return Cohen's kappa: (agreement - chance) / (1 - chance).

    Chance is the agreement of two raters who give their own numbers of verdicts at random (Cohen, Educational
    and Psychological Measurement 20, 1960).

    Args:
        first: one rater's verdicts.
        second: the other's, on the same neurons in the same order.

    Returns:
        NaN without verdicts, or where chance is 1.
    """
    if not first:
        return math.nan
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float(((a == b).mean() - chance) / (1 - chance)) if chance < 1 else math.nan


def pairwise_kappas(ratings: Iterable[UnblindedRating]) -> list[Kappa]:
    """Return the agreement of every two raters; repeats and attention checks are left out."""
    verdicts: dict[str, dict[str, bool]] = {}
    for rating in ratings:
        if rating.kind == "neuron":
            verdicts.setdefault(rating.rater, {})[rating.item] = rating.is_interpretable
    pairs = []
    for a, b in combinations(sorted(verdicts), 2):
        both = sorted(verdicts[a].keys() & verdicts[b].keys())
        by_a, by_b = [verdicts[a][i] for i in both], [verdicts[b][i] for i in both]
        agree = sum(x == y for x, y in zip(by_a, by_b, strict=True)) / len(both) if both else math.nan
        pairs.append(Kappa(a, b, len(both), agree, cohen_kappa(by_a, by_b)))
    return pairs


def krippendorff_alpha(ratings: Iterable[UnblindedRating], seed: int = 0) -> Estimate:
    """Return Krippendorff's alpha for nominal data (Content Analysis, 2004); ratings may be missing.

    Its interval is that of a bootstrap over neurons: the middle 95% of the alphas of samples drawn with
    replacement.

    Returns:
        NaN where it is undefined: no neuron was rated twice, or all verdicts are the same.
    """
    counts = _votes(ratings)
    value = _alpha(counts)
    if math.isnan(value):
        return UNKNOWN
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(counts), (N_RESAMPLES, len(counts)))
    alphas = np.array([_alpha(counts[rows]) for rows in drawn])
    low, high = np.nanquantile(alphas, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def self_consistency(ratings: Sequence[UnblindedRating]) -> dict[str, CountedShare]:
    """Return by rater the share of repeated neurons with the same verdict twice, of those rated twice."""
    verdict = {(r.rater, r.item): r.is_interpretable for r in ratings}
    same: dict[str, list[bool]] = {r.rater: [] for r in ratings}
    for rating in ratings:
        before = verdict.get((rating.rater, rating.repeat_of))
        if rating.kind == "repeat" and before is not None:
            same[rating.rater].append(before == rating.is_interpretable)
    return {rater: count_share(sum(pairs), len(pairs)) for rater, pairs in sorted(same.items())}


def checks_passed(ratings: Iterable[UnblindedRating]) -> dict[str, CountedShare]:
    """Return by rater the share of attention checks answered as expected, of those answered."""
    right: dict[str, list[bool]] = {}
    for rating in ratings:
        answers = right.setdefault(rating.rater, [])  # also for raters without a check
        if rating.kind == "check":
            answers.append(rating.is_interpretable == rating.expected)
    return {rater: count_share(sum(answers), len(answers)) for rater, answers in sorted(right.items())}


def _votes(ratings: Iterable[UnblindedRating]) -> npt.NDArray[np.int64]:
    """Count verdicts, `[neurons, 2]` against and for, of the neurons with two or more ratings."""
    votes: dict[str, list[int]] = {}
    for rating in ratings:
        if rating.kind == "neuron":
            votes.setdefault(rating.item, [0, 0])[int(rating.is_interpretable)] += 1
    return np.array([v for v in votes.values() if sum(v) > 1], dtype=np.int64).reshape(-1, 2)


def _alpha(counts: npt.NDArray[np.int64]) -> float:
    if (counts.sum(axis=0) == 0).any():
        return math.nan
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
