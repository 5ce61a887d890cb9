"""Whether raters agree with each other, with themselves, and with answers that are known."""

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


@dataclass(frozen=True, slots=True)
class Kappa:
    """Two raters over the neurons that both rated."""

    first: str
    second: str
    n_both: int
    agree: float
    """Share of those with the same verdict; NaN where there are none."""
    kappa: float
    """Cohen's; NaN where it is undefined: both gave one and the same verdict throughout, or rated nothing
    in common."""


@dataclass(frozen=True, slots=True)
class CountedShare:
    """So many of so many, as a share with Wilson's interval."""

    hits: int
    n: int
    share: Estimate


def count_share(hits: int, n: int) -> CountedShare:
    """So many of so many."""
    return CountedShare(hits, n, wilson(hits, n))


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Cohen's kappa of verdicts on the same neurons (Educational and Psychological Measurement 20, 1960).

    Returns:
        NaN where chance alone would agree always, or there is nothing to compare.
    """
    if not first:
        return math.nan
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float(((a == b).mean() - chance) / (1 - chance)) if chance < 1 else math.nan


def pairwise_kappas(ratings: Iterable[UnblindedRating]) -> list[Kappa]:
    """Of every two raters, over neurons' first items: neither repeats nor checks."""
    verdicts: dict[str, dict[str, bool]] = {}
    for rating in ratings:
        if rating.kind == "neuron":
            verdicts.setdefault(rating.rater, {})[rating.item] = rating.positive
    found = []
    for a, b in combinations(sorted(verdicts), 2):
        both = sorted(verdicts[a].keys() & verdicts[b].keys())
        of_a, of_b = [verdicts[a][i] for i in both], [verdicts[b][i] for i in both]
        agree = sum(x == y for x, y in zip(of_a, of_b, strict=True)) / len(both) if both else math.nan
        found.append(Kappa(a, b, len(both), agree, cohen_kappa(of_a, of_b)))
    return found


def krippendorff_alpha(ratings: Iterable[UnblindedRating], seed: int = 0) -> Estimate:
    """Krippendorff's alpha for nominal data (Content Analysis, 2004), where ratings may be missing.

    The interval is the middle 95% of alphas of as many neurons drawn from these with replacement.

    Returns:
        NaN where it is undefined: no neuron was rated twice, or all verdicts are the same.
    """
    counts = _votes(ratings)
    value = _alpha(counts)
    if math.isnan(value):
        return UNKNOWN
    chance = np.random.default_rng(seed)
    drawn = chance.integers(0, len(counts), (N_RESAMPLES, len(counts)))
    found = np.array([_alpha(counts[rows]) for rows in drawn])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def self_consistency(ratings: Sequence[UnblindedRating]) -> dict[str, CountedShare]:
    """By rater, the repeated neurons that got the same verdict twice, of those rated twice."""
    verdict = {(r.rater, r.item): r.positive for r in ratings}
    found: dict[str, list[bool]] = {r.rater: [] for r in ratings}
    for rating in ratings:
        before = verdict.get((rating.rater, rating.repeat_of))
        if rating.kind == "repeat" and before is not None:
            found[rating.rater].append(before == rating.positive)
    return {rater: count_share(sum(same), len(same)) for rater, same in sorted(found.items())}


def checks_passed(ratings: Iterable[UnblindedRating]) -> dict[str, CountedShare]:
    """By rater, the attention checks that were answered as expected, of those answered."""
    found: dict[str, list[bool]] = {}
    for rating in ratings:
        answers = found.setdefault(rating.rater, [])
        if rating.kind == "check":
            answers.append(rating.positive == rating.expected)
    return {rater: count_share(sum(right), len(right)) for rater, right in sorted(found.items())}


def _votes(ratings: Iterable[UnblindedRating]) -> npt.NDArray[np.int64]:
    """`[neurons, 2]` verdicts for and against, of the neurons rated by two or more."""
    found: dict[str, list[int]] = {}
    for rating in ratings:
        if rating.kind == "neuron":
            found.setdefault(rating.item, [0, 0])[int(rating.positive)] += 1
    return np.array([v for v in found.values() if sum(v) > 1], dtype=np.int64).reshape(-1, 2)


def _alpha(counts: npt.NDArray[np.int64]) -> float:
    if (counts.sum(axis=0) == 0).any():
        return math.nan
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
