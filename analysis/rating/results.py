"""Everything that a study says, of its ratings."""

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
    """A model: how many of its neurons were rated, and which fraction was called interpretable."""

    side: str
    n_neurons: int
    n_ratings: int
    share: Estimate
    """The mean over neurons of the share of raters who called it interpretable."""
    majority: Estimate
    """Neurons that more than half of their raters called so."""
    seconds: float
    """Median of a rating; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model less another one."""

    first: str
    second: str
    difference: Estimate
    """Of the mean shares; Newcombe's hybrid interval (Statistics in Medicine 17, 1998), which is MOVER."""
    p: float
    """Of the exact test, two-sided."""
    p_holm: float
    """Raised for the number of comparisons; the same where there is one."""


@dataclass(frozen=True, slots=True)
class RaterResult:
    """One rater."""

    rater: str
    n_ratings: int
    """Of all kinds."""
    shares: tuple[CountedShare, ...]
    """Of the sides, in their order."""
    comparisons: tuple[Comparison, ...]
    """With Fisher's exact test in place of the other; not raised for their number."""
    consistency: CountedShare
    """Repeated neurons that got the same verdict twice."""
    checks: CountedShare
    """Attention checks answered as expected."""
    seconds: float
    """Median of a rating."""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One layer of one model, over all raters."""

    side: str
    layer: int
    n_neurons: int
    share: Estimate


@dataclass(frozen=True, slots=True)
class Results:
    """A study's results; shares are 0 to 1 with 95% intervals, NaN where nothing was rated."""

    sides: tuple[SideResult, ...]
    comparisons: tuple[Comparison, ...]
    """Of every two sides, the later less the earlier."""
    raters: tuple[RaterResult, ...]
    layers: tuple[LayerResult, ...]
    alpha: Estimate
    """Krippendorff's, over all raters."""
    kappas: tuple[Kappa, ...]
    consistency: CountedShare
    """Repeats with the same verdict, over all raters."""
    checks: CountedShare


def results(ratings: Sequence[UnblindedRating], sides: Sequence[str] = ()) -> Results:
    """The results of a study.

    Args:
        ratings: of `rated` or `read_csv`.
        sides: the models in the order in which they are to be named; without it, by name.

    Raises:
        ValueError: a rating is of a side that is not named.
    """
    named = tuple(sides) or tuple(sorted({r.side for r in ratings if r.side}))
    if strange := {r.side for r in ratings if r.side} - set(named):
        raise ValueError(f"expected ratings of {', '.join(named)}, found some of {', '.join(strange)}")
    split = group_by_side(ratings, named)
    found = {side: _side(side, split[side]) for side in named}
    tested = [_compared(found[b], found[a], split) for a, b in combinations(named, 2)]
    raised = holm_adjusted([c.p for c in tested])
    same, passed = agreement.self_consistency(ratings), agreement.checks_passed(ratings)
    return Results(
        sides=tuple(found.values()),
        comparisons=tuple(
            Comparison(c.first, c.second, c.difference, c.p, p) for c, p in zip(tested, raised, strict=True)
        ),
        raters=tuple(_rater(name, ratings, named, same[name], passed[name]) for name in same),
        layers=tuple(_layers(split)),
        alpha=agreement.krippendorff_alpha(ratings),
        kappas=tuple(agreement.pairwise_kappas(ratings)),
        consistency=_together(list(same.values())),
        checks=_together(list(passed.values())),
    )


def _side(side: str, ratings: Sequence[UnblindedRating]) -> SideResult:
    found = score_neurons(ratings)
    share = mean_share(found, len(ratings))
    return SideResult(side, len(found), len(ratings), share, majority_share(found), _seconds(ratings))


def _compared(first: SideResult, second: SideResult, split: dict[str, list[UnblindedRating]]) -> Comparison:
    a, b = (list(score_neurons(split[of.side]).values()) for of in (first, second))
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
    verdicts = {side: [r.positive for r in of] for side, of in group_by_side(own, sides).items()}
    shares = {side: count_share(sum(of), len(of)) for side, of in verdicts.items()}
    tested = []
    for a, b in combinations(sides, 2):
        p = fisher_test(verdicts[b], verdicts[a])
        tested.append(Comparison(b, a, difference(shares[b].share, shares[a].share), p, p))
    return RaterResult(name, len(own), tuple(shares.values()), tuple(tested), same, passed, _seconds(own))


def _layers(split: dict[str, list[UnblindedRating]]) -> list[LayerResult]:
    found = []
    for side, ratings in split.items():
        for layer in sorted({r.layer for r in ratings}):
            here = [r for r in ratings if r.layer == layer]
            of = score_neurons(here)
            found.append(LayerResult(side, layer, len(of), mean_share(of, len(here))))
    return found


def _together(parts: Sequence[CountedShare]) -> CountedShare:
    return count_share(sum(part.hits for part in parts), sum(part.n for part in parts))


def _seconds(ratings: Sequence[UnblindedRating]) -> float:
    return median(r.seconds for r in ratings) if ratings else math.nan
