"""Results of a rating study: shares, comparisons of models, agreement of raters.

The names of fields are the keys of the downloaded `results.json`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from analysis.intervals import Estimate, difference
from analysis.rating import agreement
from analysis.rating.agreement import CountedShare, Kappa, count_share
from analysis.rating.exact import exact_test, fisher_test, holm_adjusted
from analysis.rating.ratings import UnblindedRating
from analysis.rating.shares import group_by_side, majority_share, mean_share, score_neurons


@dataclass(frozen=True, slots=True)
class SideResult:
    """One side of a study, a model at a hook: numbers rated and share called interpretable."""

    side: str
    n_neurons: int
    n_ratings: int
    share: Estimate
    """Mean over neurons of the share of raters who called the neuron interpretable."""
    majority: Estimate
    """Share of neurons that more than half of their raters called interpretable."""
    seconds: float
    """Median time of a rating; NaN without ratings."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference of two sides: `first` minus `second`."""

    first: str
    second: str
    difference: Estimate
    """Difference of the mean shares, with Newcombe's hybrid score interval by MOVER (Statistics in Medicine
    17, 1998)."""
    p: float
    """Two-sided p-value of the exact test."""
    p_holm: float
    """p-value adjusted for the number of comparisons by Holm's method; equal to `p` for one comparison."""


@dataclass(frozen=True, slots=True)
class RaterResult:
    """Results of one rater."""

    rater: str
    n_ratings: int
    """Repeats and checks included."""
    shares: tuple[CountedShare, ...]
    """Share called interpretable, for each side in order."""
    comparisons: tuple[Comparison, ...]
    """By Fisher's exact test; p-values are not adjusted."""
    consistency: CountedShare
    """Repeated neurons with the same verdict twice."""
    checks: CountedShare
    """Attention checks answered as expected."""
    seconds: float
    """Median time of a rating."""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """Results of one layer of one side, over all raters."""

    side: str
    layer: int
    n_neurons: int
    share: Estimate


@dataclass(frozen=True, slots=True)
class Results:
    """Results of a study. Shares are 0 to 1 with 95% intervals, NaN where nothing was rated."""

    sides: tuple[SideResult, ...]
    comparisons: tuple[Comparison, ...]
    """Comparisons of every two sides: the later minus the earlier."""
    raters: tuple[RaterResult, ...]
    layers: tuple[LayerResult, ...]
    alpha: Estimate
    """Krippendorff's alpha, over all raters."""
    kappas: tuple[Kappa, ...]
    consistency: CountedShare
    """Repeated neurons with the same verdict twice, over all raters."""
    checks: CountedShare
    """Attention checks answered as expected, over all raters."""


def compute_results(ratings: Sequence[UnblindedRating], sides: Sequence[str] = ()) -> Results:
    """Compute the results of a study.

    Args:
        ratings: from `ratings_from_rows` or `read_ratings`.
        sides: names of the sides in the order to report them; by name if empty.

    Raises:
        ValueError: a rating is of a side that is not in `sides`.
    """
    names = tuple(sides) or tuple(sorted({r.side for r in ratings if r.side}))
    if strange := {r.side for r in ratings if r.side} - set(names):
        raise ValueError(f"expected ratings of {', '.join(names)}, found some of {', '.join(strange)}")
    split = group_by_side(ratings, names)
    by_name = {side: _side(side, split[side]) for side in names}
    tested = [_compare(by_name[b], by_name[a], split) for a, b in combinations(names, 2)]
    adjusted = holm_adjusted([c.p for c in tested])
    same, passed = agreement.self_consistency(ratings), agreement.checks_passed(ratings)
    return Results(
        sides=tuple(by_name.values()),
        comparisons=tuple(
            Comparison(c.first, c.second, c.difference, c.p, p) for c, p in zip(tested, adjusted, strict=True)
        ),
        raters=tuple(_rater(name, ratings, names, same[name], passed[name]) for name in same),
        layers=tuple(_layers(split)),
        alpha=agreement.krippendorff_alpha(ratings),
        kappas=tuple(agreement.pairwise_kappas(ratings)),
        consistency=_pooled(list(same.values())),
        checks=_pooled(list(passed.values())),
    )


def _side(side: str, ratings: Sequence[UnblindedRating]) -> SideResult:
    scores = score_neurons(ratings)
    share = mean_share(scores, len(ratings))
    return SideResult(side, len(scores), len(ratings), share, majority_share(scores), _seconds(ratings))


def _compare(first: SideResult, second: SideResult, split: dict[str, list[UnblindedRating]]) -> Comparison:
    a, b = (list(score_neurons(split[result.side]).values()) for result in (first, second))
    p = exact_test(a, b)
    return Comparison(first.side, second.side, difference(first.share, second.share), p, p)


def _rater(
    name: str,
    ratings: Sequence[UnblindedRating],
    sides: Sequence[str],
    same: CountedShare,
    passed: CountedShare,
) -> RaterResult:
    own = [r for r in ratings if r.rater == name]
    groups = group_by_side(own, sides)
    verdicts = {side: [r.is_interpretable for r in group] for side, group in groups.items()}
    shares = {side: count_share(sum(votes), len(votes)) for side, votes in verdicts.items()}
    tested = []
    for a, b in combinations(sides, 2):
        p = fisher_test(verdicts[b], verdicts[a])
        tested.append(Comparison(b, a, difference(shares[b].share, shares[a].share), p, p))
    return RaterResult(name, len(own), tuple(shares.values()), tuple(tested), same, passed, _seconds(own))


def _layers(split: dict[str, list[UnblindedRating]]) -> list[LayerResult]:
    rows = []
    for side, ratings in split.items():
        for layer in sorted({r.layer for r in ratings}):
            here = [r for r in ratings if r.layer == layer]
            scores = score_neurons(here)
            rows.append(LayerResult(side, layer, len(scores), mean_share(scores, len(here))))
    return rows


def _pooled(parts: Sequence[CountedShare]) -> CountedShare:
    return count_share(sum(part.hits for part in parts), sum(part.n for part in parts))


def _seconds(ratings: Sequence[UnblindedRating]) -> float:
    return median(r.seconds for r in ratings) if ratings else math.nan
