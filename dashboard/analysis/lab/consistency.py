"""Given that a neuron fires, is it what a hypothesis says? Shares by interval of activation. Pure.

Samples of an interval are uniform, so the share of those that fit estimates the share of all its tokens.
Intervals are Wilson's (1927); for weighted sums of shares they are joined by MOVER (Zou, Huang and Zhang,
Computational Statistics & Data Analysis 53, 2009). Tokens of one text are alike: where texts and not tokens
were drawn, the interval is Wilson's with as many samples as would vary as much (Korn and Graubard, Survey
Methodology 24, 1998).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.vocabulary import Vocabulary
from cache.reader import Example, RangeSample
from dashboard.analysis.lab.hypothesis import Context, Marks, Predicate

Z = 1.959964
"""Of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95% interval; NaN where nothing was looked at."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Level:
    """An interval of activation: how many tokens lie in it, and how many of those looked at fit."""

    low: float
    high: float
    count: int
    """Tokens of the corpus in it, exact."""
    n_fit: int
    n_seen: int
    share: Estimate
    """Of all its tokens, those that fit."""


@dataclass(frozen=True)
class Consistency:
    """A neuron's levels above 0 at one hook, the lowest first."""

    levels: Sequence[Level]
    correlations: npt.NDArray[np.float64] | None = None
    """`[levels, levels]` of the errors of their shares; None where levels were sampled independently."""

    @property
    def whole(self) -> Estimate:
        """Of all tokens on which the neuron is above 0, those that fit; levels weighted by exact counts.

        Levels where nothing was looked at may hold anything.
        """
        return weighted(
            [level.share for level in self.levels], [level.count for level in self.levels], self.correlations
        )

    def between(self, low: float, high: float) -> Estimate:
        """The mean share over the levels whose middles lie between parts of the maximum, each counted alike.

        Args:
            low: part of the maximum, 0 to 1. high: likewise.
        """
        top = self.levels[-1].high if self.levels else math.nan
        weights = [
            float(low * top <= (v.low + v.high) / 2 < high * top and v.n_seen > 0) for v in self.levels
        ]
        return weighted([level.share for level in self.levels], weights, self.correlations)


def wilson(n_fit: float, n_seen: float, n_all: float = math.inf) -> Estimate:
    """A share with Wilson's interval; the numbers need not be whole.

    Args:
        n_all: of how many those seen were drawn, without replacement: when all were seen the share is exact.
    """
    if not n_seen:
        return NOTHING
    share = n_fit / n_seen
    if n_seen >= n_all:
        return Estimate(share, share, share)
    left = 1.0 if math.isinf(n_all) else (n_all - n_seen) / (n_all - 1)  # of the variance
    z2 = Z**2 * left / n_seen
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def weighted(
    shares: Sequence[Estimate],
    weights: Sequence[float],
    correlations: npt.NDArray[np.float64] | None = None,
) -> Estimate:
    """A weighted mean of shares, with its interval by MOVER, and wider by all that unseen parts may hold.

    Args:
        correlations: `[shares, shares]` of their errors; None: they are independent.
    """
    total = float(sum(weights))
    if not total:
        return NOTHING
    w = np.asarray(weights, dtype=np.float64) / total
    values, lows, highs = np.array([[part.value, part.low, part.high] for part in shares]).T
    unseen = np.isnan(values)
    half = float(w[unseen].sum()) / 2
    value = float(w @ np.where(unseen, 0.5, values))
    together = np.eye(len(w)) if correlations is None else correlations
    low, high = (
        half + math.sqrt(max(0.0, float(side @ together @ side)))
        for side in (w * np.where(unseen, 0, apart) for apart in (values - lows, highs - values))
    )
    return Estimate(value, max(0.0, value - low), min(1.0, value + high))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """A share less another one, independent of it, with its interval by MOVER: between -1 and 1."""
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above))


def context_of(example: Example, vocabulary: Vocabulary) -> Context:
    """What a hypothesis sees of an example: the tokens that are kept around its peak, not those beyond."""
    data = [vocabulary.token_bytes[int(token)] for token in example.tokens]
    start = example.position - example.peak - example.context_start
    return Context(data, example.document.source, example.document.lang, start)


def marks_of(predicate: Predicate, examples: Sequence[Example], vocabulary: Vocabulary) -> list[Marks]:
    """Which tokens of each example fit."""
    return [predicate(context_of(example, vocabulary)) for example in examples]


def consistency(predicate: Predicate, ranges: Sequence[RangeSample], vocabulary: Vocabulary) -> Consistency:
    """Hold a neuron's samples of every range above 0 against a hypothesis.

    Args:
        ranges: of `cache.reader.Neuron.ranges`.
    """
    levels = []
    for sampled in ranges:
        if sampled.high > 0:
            marks = marks_of(predicate, sampled.examples, vocabulary)
            fits = sum(bool(m[e.peak]) for m, e in zip(marks, sampled.examples, strict=True))
            n_seen = len(sampled.examples)
            share = wilson(fits, n_seen, sampled.count)
            levels.append(Level(max(sampled.low, 0.0), sampled.high, sampled.count, fits, n_seen, share))
    return Consistency(levels)


def sampled_consistency(
    values: npt.NDArray[np.floating],
    marks: Marks,
    contexts: npt.NDArray[np.int64],
    ranges: Sequence[RangeSample],
) -> Consistency:
    """The same from whole contexts that activation had no part in choosing.

    Intervals follow from how much contexts differ, since tokens of one text are alike. Where all or none
    fit they are Wilson's, with as many samples as there are contexts.

    Args:
        values: `[N]` activations. marks: `[N]` whether each token fits.
        contexts: `[N]` which context each token is of, from 0.
        ranges: of `cache.reader.Neuron.ranges`: where the levels begin and end, and their exact counts.
    """
    above = [sampled for sampled in ranges if sampled.high > 0]
    if not above:
        return Consistency([])
    edges = np.array([sampled.high for sampled in above[:-1]])
    level = np.searchsorted(edges, values, side="right")
    n_contexts, fires = int(contexts.max(initial=-1)) + 1, values > 0
    shape, cell = (n_contexts, len(above)), contexts * len(above) + level
    seen = np.bincount(cell[fires], minlength=shape[0] * shape[1]).reshape(shape)
    fits = np.bincount(cell[fires & marks], minlength=shape[0] * shape[1]).reshape(shape)
    n_seen, n_fit = seen.sum(axis=0), fits.sum(axis=0)
    part = n_fit / np.maximum(n_seen, 1)
    errors = (fits - part * seen) / np.maximum(n_seen, 1)
    found = []
    for k, sampled in enumerate(above):
        n_alike = _samples_worth(errors[:, k], seen[:, k], part[k])
        share = wilson(part[k] * n_alike, n_alike)
        found.append(
            Level(max(sampled.low, 0.0), sampled.high, sampled.count, int(n_fit[k]), int(n_seen[k]), share)
        )
    return Consistency(found, _correlations(errors))


def _samples_worth(errors: npt.NDArray[np.float64], seen: npt.NDArray[np.int64], share: float) -> float:
    """How many tokens drawn one by one would tell as much of a share as the contexts do.

    Args:
        errors: `[C]` what each context adds to the share's error. seen: `[C]` tokens looked at in each.
    """
    n_contexts, n_tokens = int((seen > 0).sum()), int(seen.sum())
    if n_contexts < 2 or share in (0, 1):
        return n_contexts
    variance = float(errors @ errors) * n_contexts / (n_contexts - 1)
    worth = share * (1 - share) / variance if variance else math.inf
    return max(1.0, min(worth, n_tokens) * (Z / _student(n_contexts - 1)) ** 2)


def _student(freedom: float) -> float:
    """Student's t for a 95% interval, by its expansion: Abramowitz and Stegun, 26.7.5."""
    g1 = (Z**3 + Z) / 4
    g2 = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    g3 = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3


def _correlations(errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`[levels, levels]` from `[C, levels]`; 0 beside a level whose share has no error."""
    size = np.linalg.norm(errors, axis=0)
    unit = errors / np.where(size > 0, size, 1)
    found = unit.T @ unit
    np.fill_diagonal(found, 1.0)
    return found


def edges_of(found: Consistency) -> npt.NDArray[np.float64]:
    """`[levels + 1]` where the levels begin and end."""
    return np.array([found.levels[0].low, *(level.high for level in found.levels)])
